"""Recording → seamless seed image."""

import logging

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.datatypes import CLIP_DURATION_S
from riffusion.errors import InputError
from riffusion.io.images import MAX_WIDTH
from riffusion.loops.grid import LoopGrid, checked_tempo, checked_whole
from riffusion.loops.seed_images import image_converter
from riffusion.loops.tempo import estimate_tempo
from riffusion.music_limits import MAX_BEATS
from riffusion.spectrogram.image_converter import image_from_mel_amplitudes
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.spectrogram.stretching import stretch

logger = logging.getLogger(__name__)

CROSSFADE_S = 0.03
_CLICK_FADE_S = 0.002
"""Fade at both ends if the recording ends at the cut and nothing is left to crossfade: long enough
to prevent a click, too short to soften an attack."""


def seed_image_from_audio(
    waveform: npt.NDArray[np.floating],
    sample_rate: int,
    *,
    beats: int | None = None,
    tempo_bpm: float | None = None,
    num_frames: int | None = None,
    params: SpectrogramParams | None = None,
) -> Image.Image:
    """Image of the first beats of a recording, cut as a seamless loop.

    The 30 ms after the cut are crossfaded into the loop's start, so that its end continues as the
    recording does. If the recording ends at the cut, both ends fade for 2 ms instead.

    Args:
        waveform: (channels, samples) in [-1, 1]; mixed or copied to one or two channels as
            `params.stereo` says.
        sample_rate: in Hz; the waveform is resampled to `params.sample_rate`.
        beats: number of beats; by default as many as fit into the audio and into 5.12 s, at least
            one.
        tempo_bpm: tempo of the audio; by default estimated, see `estimate_tempo`.
        num_frames: stretch the image in time to this width, with unchanged pitch (the published
            checkpoint was trained on 512); by default the width is the duration of the beats.
        params: by default `SpectrogramParams()`.

    Returns:
        RGB image with the parameters and the maximum amplitude in its EXIF.

    Raises:
        InputError: a value is out of range, or the audio is shorter than the beats.
    """
    params = params or SpectrogramParams()
    if num_frames is not None:
        checked_whole("num_frames", num_frames, 1, MAX_WIDTH)
    if beats is not None:
        checked_whole("beats", beats, 1, MAX_BEATS)
    audio = resample(
        with_channels(waveform, 2 if params.stereo else 1), sample_rate, params.sample_rate
    )
    if not np.isfinite(audio).all():
        raise InputError(
            "the audio has NaN or infinite samples; all must be finite, replace the others"
        )
    if tempo_bpm is None:
        tempo_bpm = estimate_tempo(audio, params.sample_rate)
        logger.info("estimated tempo: %.1f beats per minute", tempo_bpm)
    checked_tempo(tempo_bpm)
    beats = _beats_to_cut(audio.shape[1], beats, tempo_bpm, params)
    grid = LoopGrid.fit(beats, tempo_bpm, params)
    loop = cut_loop(audio, grid.num_samples, params.sample_rate)
    amplitudes = image_converter(params).converter.spectrogram_from_waveform(loop, circular=True)
    if num_frames is not None:
        amplitudes = stretch(amplitudes, num_frames)
    return image_from_mel_amplitudes(amplitudes, params)


def _beats_to_cut(
    num_samples: int, beats: int | None, tempo_bpm: float, params: SpectrogramParams
) -> int:
    """`beats`, or by default as many as fit into the audio and into a clip, at least one.

    Raises:
        InputError: the audio is shorter than the beats.
    """
    beat_samples = params.sample_rate * 60 / tempo_bpm
    # Half a frame of tolerance: a loop of 8 beats is often a few samples too short.
    available = int((num_samples + params.hop_length / 2) / beat_samples)
    if beats is None:
        in_a_clip = int((CLIP_DURATION_S * params.sample_rate + params.hop_length) / beat_samples)
        beats = max(1, min(available, in_a_clip))
    if available < beats:
        raise InputError(
            f"{beats} at tempo_bpm={tempo_bpm:.4g} need {beats * 60 / tempo_bpm:.2f} s, the audio "
            f"lasts {num_samples / params.sample_rate:.2f} s; use fewer beats or longer audio",
            field="beats",
        )
    return beats


def cut_loop(audio: Waveform, num_samples: int, sample_rate: int) -> Waveform:
    """Cut a seamless loop from the start of audio: (channels, any) → (channels, num_samples).

    Shorter audio is filled with silence.
    """
    missing = max(0, num_samples - audio.shape[1])
    loop = np.pad(audio[:, :num_samples], ((0, 0), (0, missing)))
    rest = audio[:, num_samples : num_samples + min(round(CROSSFADE_S * sample_rate), num_samples)]
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
