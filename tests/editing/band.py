"""A band whose instruments are known: a drum loop, sustained chords and a bass line."""

import dataclasses

import numpy as np
import numpy.typing as npt

from riffusion.loops.arrangements import OG_BEAT, DrumTrack
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.rendering import render_loop
from riffusion.spectrogram.params import SpectrogramParams

RATE = 44_100
LEVEL = 0.07
"""Root mean square of each instrument."""
BASS_HZ = (55.0, 65.4, 49.0, 73.4)
CHORDS_HZ = ((220.0, 261.6, 329.6), (246.9, 293.7, 392.0))

Signal = npt.NDArray[np.float64]


def band(num_loops: int = 3) -> dict[str, Signal]:
    """(samples,) of each instrument, 5.12 s per loop, by the name of the stem that it belongs to.

    The bass plays two notes per bar, and the chords change with the bar.
    """
    drums = dataclasses.replace(
        OG_BEAT, tracks=tuple(track for track in OG_BEAT.tracks if isinstance(track, DrumTrack))
    )
    grid = LoopGrid.fit(drums.beats, drums.tempo_bpm, SpectrogramParams())
    length = grid.num_samples
    signals = {
        "drums": render_loop(drums, grid, Key.parse(drums.key))[0].astype(np.float64),
        "bass": np.concatenate([tone(hz, length // 4, (1, 0.5, 0.2)) for hz in BASS_HZ]),
        "harmonic": np.concatenate(
            [
                np.sum([tone(hz, length // 2, (1, 0.5, 0.3, 0.2, 0.1)) for hz in chord], axis=0)
                for chord in CHORDS_HZ
            ]
        ),
    }
    return {
        name: np.tile(LEVEL * signal / np.sqrt(np.mean(signal**2)), num_loops)
        for name, signal in signals.items()
    }


def tone(hz: float, length: int, partials: tuple[float, ...]) -> Signal:
    """Harmonics of these amplitudes, with an attack and a release of 30 ms."""
    time = np.arange(length) / RATE
    envelope = np.minimum(1, np.minimum(time, time[::-1]) / 0.03)
    waves = [
        amplitude * np.sin(2 * np.pi * hz * n * time) for n, amplitude in enumerate(partials, 1)
    ]
    return np.asarray(envelope * np.sum(waves, axis=0))


def sdr_db(reference: Signal, estimate: Signal) -> float:
    """Signal-to-distortion ratio in dB; whatever differs from the reference is distortion."""
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2)))
