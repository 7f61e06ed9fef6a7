"""Arrangement → seamless waveform.

All processing is circular: a note that rings past the loop's end continues at its start, the room
is a circular convolution, and the loudness normalisation treats the loop as endless. So the loop
has no seam.
"""

import numpy as np

from riffusion.audio.loudness import normalize_waveform
from riffusion.audio.waveform import Waveform
from riffusion.errors import InputError
from riffusion.loops.arrangements import ARRANGEMENTS, Arrangement, DrumTrack, NoteTrack
from riffusion.loops.grid import LoopGrid, checked_whole, short_repr
from riffusion.loops.harmony import Key
from riffusion.loops.oscillators import SAMPLE_RATE, Signal, noise_band

_ROOM_DECAY_S = 0.12
_ROOM_GAIN = 0.2
"""Amplitude of the wet signal relative to the dry one: about -14 dB."""
_VELOCITY_SPREAD_DB = 1.0
"""Standard deviation of the notes' levels, as a human player varies them."""


def find_arrangement(style: str) -> Arrangement:
    """The arrangement with the name `style`.

    Raises:
        InputError: there is no such arrangement.
    """
    arrangement = ARRANGEMENTS.get(style) if isinstance(style, str) else None
    if arrangement is None:
        raise InputError(
            f"{short_repr(style)} is not a style; use one of {', '.join(sorted(ARRANGEMENTS))}",
            field="style",
        )
    return arrangement


def render_loop(arrangement: Arrangement, grid: LoopGrid, key: Key, seed: int = 0) -> Waveform:
    """Render an arrangement as a seamless loop.

    Args:
        arrangement: the arrangement; its patterns and chords repeat until `grid.beats` are full.
        grid: length of the loop.
        key: tonic and mode of the notes; it doesn't affect drums.
        seed: seed of the noise and of the random note levels.

    Returns:
        (1, samples) float32 at 44.1 kHz, normalised to the common loudness and true peak. Equal
        arguments give equal samples.

    Raises:
        InputError: `seed` is negative or too large.
    """
    checked_whole("seed", seed, 0, 2**63 - 1)
    *track_rngs, room_rng = np.random.default_rng(seed).spawn(len(arrangement.tracks) + 1)
    mix = np.zeros(grid.num_samples)
    for track, rng in zip(arrangement.tracks, track_rngs, strict=True):
        _add_track(track, arrangement, grid, key, mix, rng)
    wet = _add_room(mix, room_rng)[np.newaxis].astype(np.float32)
    return normalize_waveform(wet, SAMPLE_RATE, circular=True)


def _add_track(
    track: DrumTrack | NoteTrack,
    arrangement: Arrangement,
    grid: LoopGrid,
    key: Key,
    mix: Signal,
    rng: np.random.Generator,
) -> None:
    """Add one track to the mix (samples,) in place."""
    events, period_beats = track.events()
    for repeat in range(int(np.ceil(grid.beats / period_beats))):
        for event in events:
            start = repeat * period_beats + event.start_beats
            if start >= grid.beats:
                break
            duration_s = min(event.duration_beats, grid.beats - start) * grid.beat_s
            root = arrangement.chord_root(start) if track.follows_chords else 0
            level_db = track.gain_db + _VELOCITY_SPREAD_DB * float(rng.standard_normal())
            level = event.level * 10 ** (level_db / 20)
            for degree in event.degrees:
                frequency_hz = key.frequency_hz(root + degree, track.octave)
                note = track.instrument(frequency_hz, duration_s, rng)
                position = round(start / grid.beats * grid.num_samples)
                add_circularly(mix, level * note, position)


def add_circularly(loop: Signal, note: Signal, start: int) -> None:
    """Add a note to a loop in place; the part that rings past the end continues at the start.

    Args:
        loop: (samples,).
        note: (any number of samples,).
        start: position of the note's first sample, in [0, samples).
    """
    done = 0
    while done < note.size:
        count = min(loop.size - start, note.size - done)
        loop[start : start + count] += note[done : done + count]
        done, start = done + count, 0


def _add_room(mix: Signal, rng: np.random.Generator) -> Signal:
    """Add the sound of a small room: circular convolution (samples,) with decaying noise."""
    num_samples = min(mix.size, round(6 * _ROOM_DECAY_S * SAMPLE_RATE))
    t = np.arange(num_samples) / SAMPLE_RATE
    response = noise_band(num_samples, 250, 9000, rng) * np.exp(-t / _ROOM_DECAY_S)
    response *= _ROOM_GAIN / np.sqrt(np.sum(response**2))
    wet = np.fft.irfft(np.fft.rfft(mix) * np.fft.rfft(response, mix.size), mix.size)
    return mix + wet
