"""The distance from one key to another, as a musician would transpose."""

from dataclasses import dataclass

from riffusion.loops.harmony import Key


@dataclass(frozen=True)
class Transposition:
    """How to move a recording to a wanted key.

    Args:
        semitones: from -5 to 6, upwards positive.
        result: the key that the recording will have.
        remark: what the wanted key has that the result lacks, or "".
    """

    semitones: int
    result: Key
    remark: str = ""


def transposition(found: Key, wanted: Key) -> Transposition:
    """The nearest transposition of a recording to a key; the tonic moves, the mode stays.

    From A minor to C minor it is 3, from A minor to F minor -4. A recording in A minor that is
    wanted in C major has another mode, which no transposition changes: its tonic moves to C, and
    the remark says that it will be in C minor. Six semitones go up.

    Args:
        found: the recording's key.
        wanted: the key to move it to.
    """
    semitones = (wanted.tonic - found.tonic + 5) % 12 - 5
    result = Key(wanted.tonic, found.mode)
    if found.mode == wanted.mode:
        return Transposition(semitones, result)
    remark = (
        f"the recording is in {found.name}, and transposing keeps {found.mode}: it will be in "
        f"{result.name}, not in {wanted.name}; for the notes of {wanted.name}, ask for "
        f"{_relative(wanted).name}"
    )
    return Transposition(semitones, result, remark)


def same_notes(key: Key, mode: str) -> Key:
    """The key with the same notes in a mode: A minor for C major, and for itself."""
    return key if key.mode == mode else _relative(key)


def _relative(key: Key) -> Key:
    """The key of the other mode with the same notes: A minor ⇄ C major."""
    if key.mode == "minor":
        return Key((key.tonic + 3) % 12, "major")
    return Key((key.tonic - 3) % 12, "minor")
