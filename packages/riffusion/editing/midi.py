"""MIDI files → melodies. All notes sound, but those of the drum channel, which have no pitch."""

import io
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.editing.melody import MAX_MELODY_S, Melody, Voice, note
from riffusion.editing.midi_numbers import check_numbers
from riffusion.errors import InputError

if TYPE_CHECKING:
    import mido

_DRUM_CHANNEL = 9
"""Channel 10 of General MIDI, counted from 0."""


def melody_from_midi(source: Path | bytes) -> Melody:
    """Read the notes of a MIDI file.

    Args:
        source: the path of a standard MIDI file of type 0 or 1, or its bytes.

    Raises:
        InputError: it can't be read, isn't MIDI, has no notes, or lasts too long; `field` is
            `melody`.
    """
    import mido
    from mido.midifiles.meta import KeySignatureError

    name = "the file" if isinstance(source, bytes) else str(source)
    refused = (EOFError, ValueError, LookupError, TypeError, ArithmeticError, KeySignatureError)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        check_numbers(data)
        midi = mido.MidiFile(file=io.BytesIO(data))
        voices, num_drums = _notes(midi)
    except InputError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{name} can't be read as MIDI: {why}", field="melody") from error
    except refused as error:
        why = str(error) or "it ends too early"
        raise InputError(
            f"{name} is no valid MIDI file of type 0 or 1 ({why}); export it again",
            field="melody",
        ) from error
    if not voices:
        what = "has only drums, which have no pitch" if num_drums else "has no notes"
        raise InputError(f"{name} {what}; use a file with a melody", field="melody")
    return Melody(tuple(sorted(voices, key=lambda voice: voice.start_s)))


def _notes(midi: "mido.MidiFile") -> tuple[list[Voice], int]:
    """Notes with a pitch, and the number of drum notes."""
    if midi.ticks_per_beat < 0:
        raise InputError(
            "the file counts its times in SMPTE frames; export it with ticks per beat",
            field="melody",
        )
    time_s, num_drums = 0.0, 0
    voices: list[Voice] = []
    sounding: dict[tuple[int, int], list[tuple[float, int]]] = defaultdict(list)
    for message in midi:  # all tracks in order of time, with the tempo applied
        time_s += message.time
        if time_s > MAX_MELODY_S:
            raise InputError(
                f"the melody lasts longer than {MAX_MELODY_S:g} s; cut it into parts",
                field="melody",
            )
        if message.type not in ("note_on", "note_off"):
            continue
        is_start = message.type == "note_on" and message.velocity > 0
        if message.channel == _DRUM_CHANNEL:
            num_drums += is_start
            continue
        key = (message.channel, message.note)
        if is_start:
            sounding[key].append((time_s, message.velocity))
        elif sounding[key]:
            start_s, velocity = sounding[key].pop(0)
            voices.append(note(start_s, time_s - start_s, message.note, velocity / 127))
    for (_, pitch), starts in sounding.items():  # notes that never end
        voices += [note(at_s, time_s - at_s, pitch, velocity / 127) for at_s, velocity in starts]
    return voices, num_drums
