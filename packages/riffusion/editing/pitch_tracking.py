"""The pitch of a sung or played line, by pYIN, and how far a clip agrees with a melody.

(M. Mauch and S. Dixon, "pYIN: A fundamental frequency estimator using probabilistic threshold
distributions", ICASSP 2014, as librosa implements it.)
"""

import importlib.util
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.ndimage is imported at its first use

from riffusion.audio import Waveform, resample
from riffusion.audio.compiled_librosa import load_librosa
from riffusion.editing.melody import STEP_S, Melody, Voice
from riffusion.errors import InputError

_SAMPLE_RATE_HZ = 22_050
_HOP_SAMPLES = 220
"""10 ms."""
_FRAME_SAMPLES = 2048
_LOWEST_HZ, _HIGHEST_HZ = 65.4, 2093.0
"""Pitches from C2 to C7."""
_RESOLUTION_SEMITONES = 0.2
_AUDIBLE = 0.03
"""Level of the quietest frame that has a pitch, relative to the loudest: -30 dB."""
_SHORTEST_FRAMES = 6
_LEAST_PROBABILITY = 0.1
"""Mean over a line; noise, in which the tracker also finds some, has less."""
_SMOOTHING_FRAMES = 5
_QUARTER_TONE = 0.5
"""In semitones."""
_PART_FRAMES, _MARGIN_FRAMES = 3000, 100
"""Frames that are tracked at once, 30 s, and those beside them that the tracker hears as well: it
takes about 30 kB per frame."""

Pitches = npt.NDArray[np.float64]
"""(frames,) in Hz, one per 10 ms; NaN where there is none."""


@dataclass(frozen=True)
class Agreement:
    """How far a clip's pitches agree with a melody's.

    Args:
        share: of the frames that have a pitch while the melody sounds, those within a quarter tone
            of it; 0 if there are none.
        num_voiced: number of these frames.
        num_sounding: frames in which the melody sounds.
    """

    share: float
    num_voiced: int
    num_sounding: int


def is_tracking_installed() -> bool:
    """Whether pitches can be tracked."""
    return importlib.util.find_spec("librosa") is not None


def check_tracking() -> None:
    """Check that pitches can be tracked.

    Raises:
        InputError: librosa isn't installed.
    """
    if not is_tracking_installed():
        raise InputError(
            "pitches are tracked with librosa, which isn't installed; install it "
            "(pip install 'riffusion-truss[listening]'), or give the melody as MIDI"
        )


def track_pitch(waveform: Waveform, sample_rate: int) -> tuple[Pitches, npt.NDArray[np.float64]]:
    """The pitch of a line with one voice.

    Args:
        waveform: (channels, samples).
        sample_rate: in Hz.

    Returns:
        The pitches, and the probability that each frame has one.

    Raises:
        InputError: librosa isn't installed.
    """
    check_tracking()
    mono = resample(waveform.mean(0, keepdims=True), sample_rate, _SAMPLE_RATE_HZ)[0]
    num_frames = 1 + mono.size // _HOP_SAMPLES
    parts = []
    for first in range(0, num_frames, _PART_FRAMES):
        begin = max(0, first - _MARGIN_FRAMES)
        last = min(first + _PART_FRAMES, num_frames)
        heard = mono[begin * _HOP_SAMPLES : (last + _MARGIN_FRAMES) * _HOP_SAMPLES]
        parts.append(_tracked(heard)[:, first - begin : last - begin])
    hz, probabilities, level = np.concatenate(parts, axis=1)
    hz[level < _AUDIBLE * max(float(level.max()), 1e-6)] = np.nan
    return hz, probabilities


def _tracked(mono: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Pitches, their probabilities and the levels of a part, (3, frames)."""
    librosa = load_librosa()
    hz, _, probabilities = librosa.pyin(
        mono,
        fmin=_LOWEST_HZ,
        fmax=_HIGHEST_HZ,
        sr=_SAMPLE_RATE_HZ,
        frame_length=_FRAME_SAMPLES,
        hop_length=_HOP_SAMPLES,
        resolution=_RESOLUTION_SEMITONES,
    )
    level = librosa.feature.rms(y=mono, frame_length=_FRAME_SAMPLES, hop_length=_HOP_SAMPLES)[0]
    return np.stack([hz, probabilities, level[: hz.size]])


def melody_from_sound(waveform: Waveform, sample_rate: int) -> Melody:
    """The melody of a sung or played line.

    Args:
        waveform: (channels, samples) of one voice.
        sample_rate: in Hz.

    Raises:
        InputError: no pitch was found, or librosa isn't installed; `field` is `melody`.
    """
    hz, probabilities = track_pitch(waveform, sample_rate)
    parts, num_parts = scipy.ndimage.label(np.isfinite(hz))
    frame_s = _HOP_SAMPLES / _SAMPLE_RATE_HZ
    voices = []
    for index in range(1, num_parts + 1):
        frames = np.flatnonzero(parts == index)
        if frames.size < _SHORTEST_FRAMES or probabilities[frames].mean() < _LEAST_PROBABILITY:
            continue
        smooth = scipy.ndimage.median_filter(hz[frames], _SMOOTHING_FRAMES, mode="nearest")
        times = np.arange(0, frames.size * frame_s, STEP_S)
        curve = np.interp(times, np.arange(frames.size) * frame_s, smooth)
        voices.append(Voice(float(frames[0] * frame_s), curve))
    if not voices:
        raise InputError(
            "no pitch was found in the recording; sing or play one clear line, or give it as MIDI",
            field="melody",
        )
    return Melody(tuple(voices))


def pitch_agreement(melody: Melody, waveform: Waveform, sample_rate: int) -> Agreement:
    """Compare the pitch of a clip with a melody, of which any note may be the one that is heard.

    Args:
        melody: what should sound.
        waveform: (channels, samples).
        sample_rate: in Hz.

    Raises:
        InputError: librosa isn't installed.
    """
    hz, _ = track_pitch(waveform, sample_rate)
    num_near = num_voiced = num_sounding = 0
    for frame, found in enumerate(hz):
        wanted = melody.pitches_hz(frame * _HOP_SAMPLES / _SAMPLE_RATE_HZ)
        if not wanted:
            continue
        num_sounding += 1
        if np.isnan(found):
            continue
        num_voiced += 1
        apart = np.abs(12 * np.log2(found / np.array(wanted)))
        num_near += bool(apart.min() <= _QUARTER_TONE)
    return Agreement(num_near / max(num_voiced, 1), num_voiced, num_sounding)
