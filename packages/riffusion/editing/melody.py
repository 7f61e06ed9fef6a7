"""Melodies: pitches over time, and the sound that they are drawn from.

A melody is one or more voices, each a curve of pitches. A note has a constant curve, a sung line
one that glides. They sound as plain harmonic tones: equal curves give equal partials, whose places
in the spectrogram the checkpoint keeps, while the text decides on their sound.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

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
_BLOCK = 2**16
"""Samples of a tone that are computed at once."""


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
        starts, ends = self._times_s
        sounding = [self.voices[i] for i in np.flatnonzero((starts <= time_s) & (time_s < ends))]
        return [
            float(voice.hz[min(int((time_s - voice.start_s) / STEP_S), voice.hz.size - 1)])
            for voice in sounding
        ]

    @cached_property
    def _times_s(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """When each voice starts and ends, (voices,): thousands are compared at once."""
        return (
            np.array([voice.start_s for voice in self.voices]),
            np.array([voice.end_s for voice in self.voices]),
        )


def note(start_s: float, duration_s: float, midi_pitch: int, level: float = 1.0) -> Voice:
    """A note; its pitch is a MIDI number, 69 for the A of 440 Hz."""
    hz = 440.0 * 2 ** ((midi_pitch - 69) / 12)
    return Voice(start_s, np.full(max(1, round(duration_s / STEP_S)), hz), level)


def sound_of(melody: Melody, check: Callable[[], None] | None = None) -> Audio:
    """The melody as harmonic tones: (1, samples) at 44.1 kHz, with a peak of 0.5.

    Args:
        melody: the melody.
        check: called before each 1.5 s of a tone; what it raises ends the work.
    """
    mix = np.zeros(round((melody.duration_s + _RELEASE_S) * SAMPLE_RATE) + 1)
    for voice in melody.voices:
        at = round(voice.start_s * SAMPLE_RATE)
        for tone in _tone(voice.hz, check):
            part = mix[at : at + tone.size]  # shorter where the mix ends
            part += voice.level * tone[: part.size]
            at += tone.size
    mix = mix[: round(melody.duration_s * SAMPLE_RATE)]
    loudest = max(float(mix.max()), -float(mix.min()), 1e-9)
    mix *= _PEAK
    mix /= loudest
    return Audio(mix.astype(np.float32)[None], SAMPLE_RATE)


def _tone(hz: npt.NDArray[np.float64], check: Callable[[], None] | None = None) -> Iterator[Signal]:
    """A tone with these pitches (frames,) that rings out after the last, in blocks (samples,).

    Memory doesn't depend on its length.
    """
    hold_s = hz.size * STEP_S
    centres_s = (np.arange(hz.size) + 0.5) * STEP_S
    num_samples = round((hold_s + _RELEASE_S) * SAMPLE_RATE)
    cycles = 0.0  # times the sample rate, before the block
    for start in range(0, num_samples, _BLOCK):
        if check is not None:
            check()
        t = np.arange(start, min(start + _BLOCK, num_samples)) / SAMPLE_RATE
        curve = np.interp(t, centres_s, hz)
        total = np.cumsum(np.concatenate([[cycles], curve]))[1:]
        cycles = float(total[-1])
        tone = _partials(curve, 2 * np.pi * total / SAMPLE_RATE)
        rise = np.minimum(1, t / _ATTACK_S)
        fall = np.clip((hold_s + _RELEASE_S - t) / _RELEASE_S, 0, 1)
        yield tone * rise * fall * np.exp(-t / _DECAY_S)


def _partials(hz: Signal, phase: Signal) -> Signal:
    """The sum of all partials below the limit, for fundamentals and their phases (samples,)."""
    tone: Signal = np.zeros(phase.size)
    for partial in range(1, _NUM_PARTIALS + 1):
        is_audible = partial * hz < _MAX_PARTIAL_HZ
        if not is_audible.any():
            break
        tone += is_audible * np.sin(partial * phase) / partial**_ROLL_OFF
    return tone
