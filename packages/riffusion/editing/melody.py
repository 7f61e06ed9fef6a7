"""Melodies: pitches over time, and the sound that they are drawn from.

A melody is one or more voices, each a curve of pitches. A note has a constant curve, a sung line
one that glides. They sound as plain harmonic tones: equal curves give equal partials, whose places
in the spectrogram the checkpoint keeps, while the text decides on their sound.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio import Audio
from riffusion.errors import InputError
from riffusion.loops.oscillators import SAMPLE_RATE, Signal

STEP_S = 0.01
"""Time from pitch to pitch of a voice."""
MAX_MELODY_S = 600.0
_MAX_PARTIAL_HZ = 8000.0
_NUM_PARTIALS = 24
_ROLL_OFF = 1.2
"""Partial n has the amplitude 1 / n^1.2: between a sawtooth and a triangle."""
_ATTACK_S, _RELEASE_S = 0.015, 0.05
_DECAY_S = 2.5
_PEAK = 0.5


@dataclass(frozen=True, eq=False)
class Voice:
    """A note, or a line without a gap.

    Args:
        start_s: when it begins.
        hz: its pitches, one per 10 ms, at least one.
        level: how loud it is, over 0 and up to 1.
    """

    start_s: float
    hz: npt.NDArray[np.float64]
    level: float = 1.0

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.start_s + self.hz.size * STEP_S


@dataclass(frozen=True)
class Melody:
    """Voices, of which several may sound at the same time.

    Args:
        voices: at least one, ordered by their start.

    Raises:
        InputError: it lasts longer than ten minutes.
    """

    voices: tuple[Voice, ...]

    def __post_init__(self) -> None:
        if self.duration_s > MAX_MELODY_S:
            raise InputError(
                f"the melody lasts {self.duration_s:.0f} s, at most {MAX_MELODY_S:g} s are "
                "allowed; cut it into parts",
                field="melody",
            )

    @property
    def duration_s(self) -> float:
        """When the last voice ends."""
        return max(voice.end_s for voice in self.voices)

    def pitches_hz(self, time_s: float) -> list[float]:
        """The pitches that sound at a time."""
        return [
            float(voice.hz[min(int((time_s - voice.start_s) / STEP_S), voice.hz.size - 1)])
            for voice in self.voices
            if voice.start_s <= time_s < voice.end_s
        ]


def note(start_s: float, duration_s: float, midi_pitch: int, level: float = 1.0) -> Voice:
    """A note; its pitch is a MIDI number, 69 for the A of 440 Hz."""
    hz = 440.0 * 2 ** ((midi_pitch - 69) / 12)
    return Voice(start_s, np.full(max(1, round(duration_s / STEP_S)), hz), level)


def sound_of(melody: Melody) -> Audio:
    """The melody as harmonic tones: (1, samples) at 44.1 kHz, with a peak of 0.5."""
    mix = np.zeros(round((melody.duration_s + _RELEASE_S) * SAMPLE_RATE) + 1)
    for voice in melody.voices:
        tone = voice.level * _tone(voice.hz)
        start = round(voice.start_s * SAMPLE_RATE)
        tone = tone[: mix.size - start]
        mix[start : start + tone.size] += tone
    mix = mix[: round(melody.duration_s * SAMPLE_RATE)]
    scaled = _PEAK * mix / max(float(np.abs(mix).max()), 1e-9)
    return Audio(scaled.astype(np.float32)[None], SAMPLE_RATE)


def _tone(hz: npt.NDArray[np.float64]) -> Signal:
    """A tone with these pitches (frames,) that rings out after the last: (samples,)."""
    hold_s = hz.size * STEP_S
    t = np.arange(round((hold_s + _RELEASE_S) * SAMPLE_RATE)) / SAMPLE_RATE
    curve = np.interp(t, (np.arange(hz.size) + 0.5) * STEP_S, hz)
    phase = 2 * np.pi * np.cumsum(curve) / SAMPLE_RATE
    tone: Signal = np.zeros(t.size)
    for partial in range(1, _NUM_PARTIALS + 1):
        is_audible = partial * curve < _MAX_PARTIAL_HZ
        if not is_audible.any():
            break
        tone += is_audible * np.sin(partial * phase) / partial**_ROLL_OFF
    rise = np.minimum(1, t / _ATTACK_S)
    fall = np.clip((hold_s + _RELEASE_S - t) / _RELEASE_S, 0, 1)
    return tone * rise * fall * np.exp(-t / _DECAY_S)
