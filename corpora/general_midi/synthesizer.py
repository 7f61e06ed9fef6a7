"""Parts → seamless waveform, played by FluidSynth.

A loop is played once. Its tail, with the reverb, is added circularly from the start of the loop. So
the loop is as if repeated forever, and has no seam.

Each loop is played by a new FluidSynth synth, because a used voice starts differently from a new
one. Creating one takes a millisecond: all share the soundfont, which is loaded once.
"""

import contextlib
import ctypes
import functools
import io
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corpora.general_midi.notes import DRUM_BANK, Part
from riffusion.errors import InputError, RiffusionError
from riffusion.loops.oscillators import Signal

if TYPE_CHECKING:  # imports torch, which the main process of a pool does not need
    from riffusion.audio.waveform import Waveform

SAMPLE_RATE = 44_100
_BLOCK_SAMPLES = 64
"""FluidSynth starts notes only at multiples of this block, 1.5 ms."""
_TAIL_STEP_BLOCKS = 172
"""A quarter of a second; after each, the tail is checked for silence."""
_MAX_TAIL_STEPS = 20
_SILENCE = 1e-5
_MAX_PEAK = 0.98

DEBIAN_PACKAGES = "apt-get install fluidsynth musescore-general-soundfont-small"
DEFAULT_SOUNDFONTS = (
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf2/MuseScore_General.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)
"""Paths of General MIDI soundfonts in Linux distributions, by preference."""

_MODULATION, _VOLUME = 1, 7


def find_soundfont(path: str | Path | None = None) -> Path:
    """The given soundfont, or the first one that is installed.

    Raises:
        InputError: there is none.
    """
    if path is not None:
        if not Path(path).is_file():
            raise InputError(
                f"{str(path)!r} is not a file; name a General MIDI soundfont (.sf2, .sf3), or "
                f"leave it out after `{DEBIAN_PACKAGES}`",
                field="soundfont",
            )
        return Path(path)
    for place in DEFAULT_SOUNDFONTS:
        if Path(place).is_file():
            return Path(place)
    raise InputError(
        "there is no General MIDI soundfont in the usual folders; "
        f"`{DEBIAN_PACKAGES}`, or name one",
        field="soundfont",
    )


class Synthesizer:
    """Plays parts on a soundfont.

    Args:
        soundfont: a General MIDI .sf2 or .sf3 file.

    Raises:
        RiffusionError: FluidSynth isn't installed.
        InputError: FluidSynth can't read the file.
    """

    def __init__(self, soundfont: Path) -> None:
        self._library = _fluidsynth_library()
        settings = self._library.new_fluid_settings()
        self._owner = self._new_synth(settings)
        weakref.finalize(self, _delete, self._library, self._owner, settings).atexit = False
        self.soundfont = soundfont
        # FluidSynth would try other files as other formats, and print its own messages.
        is_soundfont = _first_bytes(soundfont, 12)[8:] == b"sfbk"
        if (
            not is_soundfont
            or self._library.fluid_synth_sfload(self._owner, os.fsencode(soundfont), 0) < 0
        ):
            raise InputError(
                f"{str(soundfont)!r} is not a soundfont that FluidSynth can read; name another one",
                field="soundfont",
            )
        self._loaded = self._library.fluid_synth_get_sfont(self._owner, 0)

    def render_loop(
        self, parts: Sequence[Part], num_beats: int, num_samples: int, reverb: float = 0.3
    ) -> "Waveform":
        """Play parts as a seamless loop.

        Args:
            parts: at most 15 parts; their notes start within the loop.
            num_beats, num_samples: length of the loop.
            reverb: level of the reverb, 0 to 1.

        Returns:
            (1, samples) float32 at 44.1 kHz, attenuated if it would clip. Equal arguments give
            equal samples, independent of earlier calls.

        Raises:
            InputError: the soundfont lacks one of the instruments.
        """
        settings = self._library.new_fluid_settings()
        for name, number in (
            ("synth.gain", 0.4),
            ("synth.sample-rate", float(SAMPLE_RATE)),
            ("synth.reverb.level", reverb),
            ("synth.reverb.room-size", 0.5),
        ):
            self._library.fluid_settings_setnum(settings, name.encode(), number)
        synth = self._new_synth(settings)
        try:
            self._library.fluid_synth_add_sfont(synth, self._loaded)
            mono = self._play(synth, parts, num_beats, num_samples)
        finally:
            self._library.fluid_synth_remove_sfont(synth, self._loaded)
            _delete(self._library, synth, settings)
        peak = float(np.abs(mono).max(initial=0.0))
        return (mono * min(1.0, _MAX_PEAK / max(peak, 1e-9)))[np.newaxis].astype(np.float32)

    def _new_synth(self, settings: int) -> int:
        synth: int = self._library.new_fluid_synth(settings)
        if not synth:
            raise RiffusionError("FluidSynth cannot be started; free some memory and try again")
        return synth

    def _play(self, synth: int, parts: Sequence[Part], num_beats: int, num_samples: int) -> Signal:
        from riffusion.loops.rendering import add_circularly

        channels = [channel for channel in range(16) if channel != 9][: len(parts)]
        for channel, part in zip(channels, parts, strict=True):
            self._select(synth, channel, part)
        loop = np.zeros(num_samples)
        position = 0
        for block, is_on, channel, pitch, velocity in _events(
            parts, channels, num_beats, num_samples
        ):
            start = block * _BLOCK_SAMPLES
            if start > position:
                add_circularly(loop, self._samples(synth, start - position), position % num_samples)
                position = start
            if is_on:
                self._library.fluid_synth_noteon(synth, channel, pitch, velocity)
            else:
                self._library.fluid_synth_noteoff(synth, channel, pitch)
        if position < num_samples:
            add_circularly(loop, self._samples(synth, num_samples - position), position)
            position = num_samples
        for step in range(_MAX_TAIL_STEPS):
            tail = self._samples(synth, _TAIL_STEP_BLOCKS * _BLOCK_SAMPLES)
            if step == _MAX_TAIL_STEPS - 1:
                tail *= np.linspace(1, 0, tail.size)
            add_circularly(loop, tail, position % num_samples)
            position += tail.size
            if np.abs(tail).max() < _SILENCE:
                break
        return loop

    def _select(self, synth: int, channel: int, part: Part) -> None:
        is_drum = part.bank == DRUM_BANK
        self._library.fluid_synth_set_channel_type(synth, channel, int(is_drum))
        # The shared soundfont has a different id in each synth, so it is not selected by id.
        self._library.fluid_synth_bank_select(synth, channel, part.bank)
        self._library.fluid_synth_program_change(synth, channel, part.program)
        # FluidSynth silently replaces an instrument that the soundfont lacks.
        preset = self._library.fluid_synth_get_channel_preset(synth, channel)
        found = preset and (
            self._library.fluid_preset_get_banknum(preset),
            self._library.fluid_preset_get_num(preset),
        )
        if found != (part.bank, part.program):
            raise InputError(
                f"{str(self.soundfont)!r} has no bank={part.bank}, program={part.program}; "
                "name a complete General MIDI soundfont",
                field="soundfont",
            )
        self._library.fluid_synth_cc(synth, channel, _VOLUME, part.volume)
        self._library.fluid_synth_cc(synth, channel, _MODULATION, part.vibrato)

    def _samples(self, synth: int, count: int) -> Signal:
        """The next samples (count,), the mean of both channels."""
        stereo = np.zeros((count, 2), np.float32)
        pointer = stereo.ctypes.data
        self._library.fluid_synth_write_float(synth, count, pointer, 0, 2, pointer, 1, 2)
        mono: Signal = stereo.mean(axis=1, dtype=np.float64)
        return mono


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _delete(library: Any, synth: int, settings: int) -> None:
    library.delete_fluid_synth(synth)
    library.delete_fluid_settings(settings)


def _events(
    parts: Sequence[Part], channels: Sequence[int], num_beats: int, num_samples: int
) -> list[tuple[int, bool, int, int, int]]:
    """Sorted events (block, is note-on, channel, pitch, velocity); note-offs come first in a block.

    Notes that last beyond the end of the loop are released after it, at most one loop later.
    """
    num_blocks = num_samples / _BLOCK_SAMPLES
    events = []
    for part, channel in zip(parts, channels, strict=True):
        next_start: dict[int, int] = {}  # a key is released before it is struck again
        for note in sorted(part.notes, reverse=True):
            duration = min(note.duration_beats, num_beats)
            start = round(note.start_beats / num_beats * num_blocks)
            end = max(start + 1, round((note.start_beats + duration) / num_beats * num_blocks))
            if start == next_start.get(note.pitch):
                continue
            end = min(end, next_start.get(note.pitch, end))
            next_start[note.pitch] = start
            events.append((start, True, channel, note.pitch, note.velocity))
            events.append((end, False, channel, note.pitch, 0))
    return sorted(events)


@functools.cache
def _fluidsynth_library() -> Any:
    """The C library that pyfluidsynth finds.

    pyfluidsynth's own methods return 16-bit samples with dither, which depends on earlier samples;
    the floating-point function used here doesn't.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints if `CI` is set
            import fluidsynth
    except (ImportError, OSError) as error:  # it is missing, or is one that cannot be loaded
        raise RiffusionError(
            f"FluidSynth cannot be loaded ({error}); `{DEBIAN_PACKAGES}` and `pip install "
            "pyfluidsynth`"
        ) from error
    library: Any = ctypes.CDLL(fluidsynth._fl._name)
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    signatures = {
        "new_fluid_settings": (pointer, []),
        "delete_fluid_settings": (None, [pointer]),
        "fluid_settings_setnum": (number, [pointer, text, ctypes.c_double]),
        "new_fluid_synth": (pointer, [pointer]),
        "delete_fluid_synth": (None, [pointer]),
        "fluid_synth_sfload": (number, [pointer, text, number]),
        "fluid_synth_get_sfont": (pointer, [pointer, ctypes.c_uint]),
        "fluid_synth_add_sfont": (number, [pointer, pointer]),
        "fluid_synth_remove_sfont": (number, [pointer, pointer]),
        "fluid_synth_set_channel_type": (number, [pointer, number, number]),
        "fluid_synth_bank_select": (number, [pointer, number, number]),
        "fluid_synth_program_change": (number, [pointer, number, number]),
        "fluid_synth_get_channel_preset": (pointer, [pointer, number]),
        "fluid_preset_get_banknum": (number, [pointer]),
        "fluid_preset_get_num": (number, [pointer]),
        "fluid_synth_cc": (number, [pointer, number, number, number]),
        "fluid_synth_noteon": (number, [pointer, number, number, number]),
        "fluid_synth_noteoff": (number, [pointer, number, number]),
        "fluid_synth_write_float": (
            number,
            [pointer, number, pointer, number, number, pointer, number, number],
        ),
        "fluid_set_log_function": (pointer, [number, pointer, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for level in range(5):
        library.fluid_set_log_function(level, None, None)
    return library
