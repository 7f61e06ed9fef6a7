"""Another tempo and another key for a recording of any length.

recording ─▶ listen ─▶ beats and key found ─▶ plan_retiming ─▶ Retiming ─▶ retimed ─▶ waveforms
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from riffusion.audio.waveform import Waveform
from riffusion.editing.beat_grid import BeatGrid, find_beat_grid
from riffusion.editing.key_finding import FoundKey, find_key
from riffusion.editing.listening import listen
from riffusion.editing.pitch_shifting import shifted
from riffusion.editing.sound import Sound
from riffusion.editing.stretching import check_library
from riffusion.editing.transposing import Transposition, transposition
from riffusion.errors import InputError
from riffusion.loops.grid import checked_tempo
from riffusion.loops.harmony import Key
from riffusion.music_limits import MAX_SEMITONES, TEMPO_RANGE_BPM

MAX_RATIO = 4.0
"""Largest ratio of the two tempi, either way; beyond it little of the sound is left."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Retiming:
    """What `retimed` will do to a recording.

    Args:
        length: of the result, relative to the recording's.
        semitones: by which the pitch moves.
        tempo_bpm: tempo of the result; None if it isn't known.
        beats: the recording's beats, if they were looked for.
        key: the recording's key, if it was looked for.
        transposition: how the key moves, if a key was wanted.
    """

    length: Fraction
    semitones: float
    tempo_bpm: float | None = None
    beats: BeatGrid | None = None
    key: FoundKey | None = None
    transposition: Transposition | None = None


def plan_retiming(
    recording: Sound,
    *,
    tempo_bpm: float | None = None,
    from_tempo_bpm: float | None = None,
    key: str | None = None,
    semitones: float | None = None,
    progress: Progress | None = None,
) -> Retiming:
    """Find out what a recording needs in order to have a tempo and a key.

    Args:
        recording: any length, mono or stereo.
        tempo_bpm: the wanted tempo; by default it stays. A tempo that drifts keeps drifting, and
            its mean becomes the wanted one.
        from_tempo_bpm: the recording's tempo, taken as exact; by default it is found.
        key: the wanted key, such as `A minor`; by default it stays. The tonic moves the shorter
            way, and the mode stays the recording's.
        semitones: how far to move the pitch, instead of `key`; up is positive, fractions too.
        progress: called while listening, with the samples done and their total.

    Raises:
        InputError: nothing to do, a value is out of range, or the recording has no beat or key that
            is needed; or the library for stretching isn't installed.
    """
    check_retiming(tempo_bpm, from_tempo_bpm, key, semitones)
    wanted = None if key is None else Key.parse(key)
    if recording.num_samples == 0:
        raise InputError("the recording has no samples; use another one")
    needs_beats = tempo_bpm is not None and from_tempo_bpm is None
    beats = found = moved = None
    if needs_beats or wanted is not None:
        heard = listen(recording, progress)
        beats = find_beat_grid(heard) if needs_beats else None
        found = None if wanted is None else find_key(heard)
    if found is not None and wanted is not None:
        moved = transposition(found.key, wanted)
        semitones = moved.semitones
    if tempo_bpm is None:
        return Retiming(Fraction(1), semitones or 0.0, None, beats, found, moved)
    known_bpm = from_tempo_bpm if beats is None else beats.tempo_bpm
    assert known_bpm is not None  # given or found
    length = Fraction(known_bpm) / Fraction(tempo_bpm)
    if not 1 / MAX_RATIO <= length <= MAX_RATIO:
        raise InputError(
            f"{tempo_bpm:g} is more than {MAX_RATIO:g} times as fast or as slow as the recording "
            f"({known_bpm:.4g} beats per minute); choose a tempo nearer to it",
            field="tempo_bpm",
        )
    if round(recording.num_samples * length) == 0:
        raise InputError("the recording is so short that nothing would be left of it")
    return Retiming(length, semitones or 0.0, tempo_bpm, beats, found, moved)


def check_retiming(
    tempo_bpm: float | None,
    from_tempo_bpm: float | None,
    key: str | None,
    semitones: float | None,
) -> None:
    """Check what is known before the recording is read; as `plan_retiming`.

    Raises:
        InputError: nothing to do, a value is out of range, or the library isn't installed.
    """
    if tempo_bpm is not None:
        checked_tempo(tempo_bpm)
    if from_tempo_bpm is not None:
        low, high = TEMPO_RANGE_BPM
        if not low <= from_tempo_bpm <= high:  # also false for NaN
            raise InputError(
                f"{from_tempo_bpm} must be from {low:g} to {high:g} beats per minute",
                field="from_tempo_bpm",
            )
        if tempo_bpm is None:
            raise InputError(
                f"{from_tempo_bpm:g} needs a tempo to change to; add tempo_bpm",
                field="from_tempo_bpm",
            )
    if tempo_bpm is None and key is None and semitones is None:
        raise InputError(
            "nothing to change; name the tempo_bpm, the key or the semitones", field="tempo_bpm"
        )
    if key is not None:
        Key.parse(key)
    if semitones is not None:
        if key is not None:
            raise InputError(
                f"{semitones:g} can't be combined with a key; leave one of them out",
                field="semitones",
            )
        if not math.isfinite(semitones) or abs(semitones) > MAX_SEMITONES:
            raise InputError(
                f"{semitones} must be from {-MAX_SEMITONES:g} to {MAX_SEMITONES:g}; 12 is an "
                "octave",
                field="semitones",
            )
    check_library()


def retimed(recording: Sound, plan: Retiming) -> Iterator[Waveform]:
    """The recording at its new tempo and pitch, part by part.

    Args:
        recording: the one that was planned for.
        plan: what to do.

    Yields:
        (channels, samples) at the recording's rate; `round(num_samples · plan.length)` samples in
        all. Where neither tempo nor pitch changes, the samples are the recording's own.
    """
    return shifted(
        recording.waveform,
        recording.num_samples,
        recording.num_channels,
        recording.sample_rate,
        plan.semitones,
        plan.length,
    )
