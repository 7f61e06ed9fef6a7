"""Extend: a recording continues after its end, and before its start, with its own beat."""

import math
from collections.abc import Iterator

import numpy as np

from riffusion.audio.loudness import loudness_of_parts
from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.stages import ProgressCallback
from riffusion.editing.continuation import Continuation
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import check_length
from riffusion.editing.remaking import BEATS_COURSE, remade_samples
from riffusion.editing.repainting import balance_around
from riffusion.editing.sound import Sound
from riffusion.editing.splicing import MAX_JOIN_S, Kept, New, Part
from riffusion.editing.spooled import SpooledSound
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator

MAX_EXTENSION_S = 600.0
_GAIN_ONSET_S = 0.5
_MAX_GAIN_DB = 12.0
_SAMPLES_AT_ONCE = 2**20
"""Samples per channel that are in memory at once; of so many, loudness is measured exactly."""
_MEASURED_S = 3.0
"""Length of the parts in which the loudness of longer sound is measured."""
_REPEATED_S = 5.0
"""About as much of the recording is the model's example for what is new."""


def extend(
    recording: Recording,
    generator: ClipGenerator,
    inputs: InferenceInput,
    *,
    after_s: float = 0.0,
    before_s: float = 0.0,
    bar_s: float,
    on_progress: ProgressCallback | None = None,
) -> list[Part]:
    """Let a recording go on. It stays as it is, but for a join of 20 ms where something follows.

    What is new starts from repetitions of the recording's last bars (or first, before its start),
    so the beat continues; `denoising` says how far it moves away from them.

    Args:
        recording: the recording.
        generator: its checkpoint makes what is new.
        inputs: prompt, seed, negative prompt, denoising, guidance, scheduler and steps, of its
            start.
        after_s, before_s: length of what is new, in seconds.
        bar_s: length of a bar in seconds; see `beat_grid`.
        on_progress: called with (steps done, number of steps), from 0 again for each end.

    Returns:
        Parts for `splicing.write_spliced`.

    Raises:
        InputError: a length out of range, or an invalid request.
    """
    check_length(recording)
    generator.check(inputs)
    check_extension(after_s, before_s)
    period_s, rate = _period_s(recording, bar_s), recording.sample_rate
    before, after = round(before_s * rate), round(after_s * rate)
    longer = ModelAxis(Continuation(recording, before, after, period_s), generator.converter)
    join = int(MAX_JOIN_S * rate)  # regenerated, too, so that the join has sound of both
    parts: list[Part] = [Kept(0, recording.num_samples)]
    if before:
        made = remade_samples(
            longer, generator, inputs, 0, before + join, on_progress, course=BEATS_COURSE
        )
        new = _spooled(recording, made, 0)
        parts = [New(as_loud_as(recording, new, joins_at_its_start=False)), *parts]
    if after:
        end = before + recording.num_samples
        stop = end + after
        made = remade_samples(
            longer, generator, inputs, end - join, stop, on_progress, course=BEATS_COURSE
        )
        new = _spooled(recording, made, recording.num_samples)
        parts = [*parts, New(as_loud_as(recording, new))]
    return parts


def check_extension(after_s: float, before_s: float) -> None:
    """Check lengths before the work begins.

    Raises:
        InputError: a length is out of range, or both are 0.
    """
    for name, length_s in (("after_s", after_s), ("before_s", before_s)):
        if not 0 <= length_s <= MAX_EXTENSION_S:  # NaN fails, too
            raise InputError(f"{length_s:g} must be from 0 to {MAX_EXTENSION_S:g} seconds", name)
    if after_s == before_s == 0:
        raise InputError("is 0, and so is before_s; give at least one of them", "after_s")


def as_loud_as(
    recording: Recording, new: Sound, *, joins_at_its_start: bool = True
) -> Iterator[Waveform]:
    """Give new sound the loudness of the recording beside it.

    The gain sets in gradually from the join on, so that no step is heard.

    Args:
        recording: its last seconds count, as many as the new sound lasts; or its first.
        new: as many channels as the recording, at its rate.
        joins_at_its_start: whether the recording comes before.

    Yields:
        (channels, samples) each; all together as long as the new sound.
    """
    gain_db, total = _missing_db(recording, new, joins_at_its_start), new.num_samples
    onset = _GAIN_ONSET_S * recording.sample_rate
    for start, stop in _stretches(0, total, _SAMPLES_AT_ONCE):
        distance = np.arange(start, stop)
        if not joins_at_its_start:
            distance = total - 1 - distance
        gain = 10 ** (gain_db * np.minimum(distance / onset, 1.0) / 20)
        yield np.asarray(new.waveform(start, stop) * gain, np.float32)


def _missing_db(recording: Recording, new: Sound, joins_at_its_start: bool) -> float:
    """By how much new sound is quieter than the recording beside it, limited; 0 for silence."""
    length = min(recording.num_samples, new.num_samples)
    first = recording.num_samples - length if joins_at_its_start else 0
    wanted = _loudness(recording, first, first + length)
    found = _loudness(new, 0, new.num_samples)
    if not (math.isfinite(wanted) and math.isfinite(found)):  # silence
        return 0.0
    return min(max(wanted - found, -_MAX_GAIN_DB), _MAX_GAIN_DB)


def _loudness(sound: Sound, start: int, stop: int) -> float:
    """Loudness of the samples from `start` to `stop`, in LUFS."""
    is_short = stop - start <= _SAMPLES_AT_ONCE
    size = _SAMPLES_AT_ONCE if is_short else round(_MEASURED_S * sound.sample_rate)
    parts = (sound.waveform(*part) for part in _stretches(start, stop, size))
    return loudness_of_parts(parts, sound.sample_rate)


def _stretches(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """The samples from `start` to `stop` in stretches of a size."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def _spooled(recording: Recording, made: Iterator[Waveform], at: int) -> SpooledSound:
    """New sound in mono with the recording's channels, at the levels that they have around `at`."""
    levels = balance_around(recording, at, at)
    return SpooledSound((part * levels for part in made), recording.sample_rate)


def _period_s(recording: Recording, bar_s: float) -> float:
    """Length of what is repeated: whole bars, as many as make about five seconds and fit."""
    if not 0 < bar_s <= recording.duration_s:
        raise InputError(
            f"a bar of {bar_s:g} s must be longer than 0 and fit into the recording of "
            f"{recording.duration_s:.3f} s; give a higher tempo, or a longer recording"
        )
    bars = min(math.floor(recording.duration_s / bar_s), max(1, round(_REPEATED_S / bar_s)))
    return bars * bar_s
