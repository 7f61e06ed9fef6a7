"""Own audio → seamless seed image."""

import logging

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.datatypes import CLIP_DURATION_S
from riffusion.errors import InputError
from riffusion.io.images import MAX_WIDTH
from riffusion.loops.grid import MAX_BEATS, LoopGrid, checked_tempo, checked_whole
from riffusion.loops.seed_images import circular_mel_amplitudes, image_with_params
from riffusion.loops.tempo import estimate_tempo
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.params import SpectrogramParams

logger = logging.getLogger(__name__)

_CROSSFADE_S = 0.03
_CLICK_FADE_S = 0.002
"""Dip at a seam that has nothing to be crossfaded with: long enough against the click, too short
to blunt an attack."""


def seed_image_from_audio(
    waveform: npt.NDArray[np.floating],
    sample_rate: int,
    *,
    beats: int | None = None,
    tempo_bpm: float | None = None,
    num_columns: int | None = None,
    params: SpectrogramParams | None = None,
) -> Image.Image:
    """Image of the first whole beats of a recording, cut so that it loops.

    What follows the cut is crossfaded into the start for 30 ms, so the loop's end goes on as the
    recording did. Where the recording ends with the cut, both ends dip for 2 ms instead.

    Args:
        waveform: (channels, samples) in [-1, 1]; mixed or copied to `params.stereo`'s channels.
        sample_rate: Hz; resampled to `params.sample_rate`.
        beats: to cut out; default as many as fit into the audio and into 5.12 s, at least one.
        tempo_bpm: of the audio; default estimated, see `estimate_tempo`.
        num_columns: stretch or squeeze the image in time to this width, pitch unchanged (512 is
            what the published checkpoint was trained on); default as wide as the beats last.
        params: default `SpectrogramParams()`.

    Returns:
        RGB, with parameters and maximum in its EXIF.

    Raises:
        InputError: a value out of range, or audio that is shorter than the beats to cut.
    """
    params = params or SpectrogramParams()
    if num_columns is not None:
        checked_whole("num_columns", num_columns, 1, MAX_WIDTH)
    if beats is not None:
        checked_whole("beats", beats, 1, MAX_BEATS)
    audio = resample(
        with_channels(waveform, 2 if params.stereo else 1), sample_rate, params.sample_rate
    )
    if not np.isfinite(audio).all():
        raise InputError("the audio holds NaN or infinite samples; all must be finite")
    if tempo_bpm is None:
        tempo_bpm = estimate_tempo(audio, params.sample_rate)
        logger.info("estimated a tempo of %.1f beats per minute", tempo_bpm)
    checked_tempo(tempo_bpm)
    beat_samples = params.sample_rate * 60 / tempo_bpm
    # Half a column of tolerance: a loop of 8 beats is often some samples short of them.
    available = int((audio.shape[1] + params.hop_length / 2) / beat_samples)
    if beats is None:
        in_a_clip = int((CLIP_DURATION_S * params.sample_rate + params.hop_length) / beat_samples)
        beats = max(1, min(available, in_a_clip))
    if available < beats:
        raise InputError(
            f"{beats} at tempo_bpm={tempo_bpm:.4g} need {beats * 60 / tempo_bpm:.2f} s, the audio "
            f"lasts {audio.shape[1] / params.sample_rate:.2f} s; take fewer or longer audio",
            field="beats",
        )
    grid = LoopGrid.fit(beats, tempo_bpm, params)
    loop = cut_loop(audio, grid.num_samples, params.sample_rate)
    amplitudes = circular_mel_amplitudes(loop, params)
    if num_columns is not None:
        amplitudes = fit_columns(amplitudes, num_columns)
    return image_with_params(amplitudes, params)


def cut_loop(audio: Waveform, num_samples: int, sample_rate: int) -> Waveform:
    """The first `num_samples` of audio (channels, any), made seamless: (channels, num_samples).

    Audio that is shorter is filled with silence.
    """
    missing = max(0, num_samples - audio.shape[1])
    loop = np.pad(audio[:, :num_samples], ((0, 0), (0, missing)))
    rest = audio[:, num_samples : num_samples + min(round(_CROSSFADE_S * sample_rate), num_samples)]
    if rest.shape[1] > _CLICK_FADE_S * sample_rate:
        fade_in = np.sin(np.linspace(0, np.pi / 2, rest.shape[1], dtype=np.float32)) ** 2
        loop[:, : rest.shape[1]] *= fade_in
        loop[:, : rest.shape[1]] += (1 - fade_in) * rest
    else:
        count = min(round(_CLICK_FADE_S * sample_rate), num_samples // 2)
        dip = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
        loop[:, :count] *= dip
        loop[:, num_samples - count :] *= dip[::-1]
    return loop


def fit_columns(amplitudes: FloatArray, num_columns: int) -> FloatArray:
    """Stretch (channels, frequency, time) to another number of columns, around the circle.

    Amplitudes hold no phase, so a slower image is a slower sound of the same pitch. Column j
    takes the linear interpolation at time j · old / new.
    """
    old = amplitudes.shape[-1]
    position = np.arange(num_columns) * (old / num_columns)
    left = np.floor(position).astype(int)
    weight = (position - left).astype(np.float32)
    before, after = amplitudes[..., left % old], amplitudes[..., (left + 1) % old]
    fitted: FloatArray = before + weight * (after - before)
    return fitted
