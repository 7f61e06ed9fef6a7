"""One pass over a recording, for its beats and its key: what is kept is small.

About 23 kB per second of audio, whatever the rate and the channels: 14 MB for ten minutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.editing.attacks import AttackFrames
from riffusion.editing.chroma import ChromaFrames, Chromagram
from riffusion.editing.sound import Sound
from riffusion.loops.onsets import Bands, OnsetFrames
from riffusion.loops.oscillators import Signal

BLOCK_SAMPLES = 2**18
"""Samples per channel that are read at once."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard in a recording.

    Args:
        duration_s: length of the recording.
        bands: magnitudes (40, frames), see `riffusion.loops.onsets`.
        band_edges_hz: edges of the bands, one more than there are bands.
        step_s: time from frame to frame of `bands`.
        attacks: how suddenly the energy rises (frames,), see `riffusion.editing.attacks`.
        attack_step_s: time from frame to frame of `attacks`.
        chroma: pitch classes over time.
        peak: largest magnitude of a sample; 0 for silence.
    """

    duration_s: float
    bands: Bands
    band_edges_hz: npt.NDArray[np.float64]
    step_s: float
    attacks: Signal
    attack_step_s: float
    chroma: Chromagram
    peak: float


def listen(recording: Sound, progress: Callable[[int, int], None] | None = None) -> Heard:
    """Listen to a whole recording.

    Args:
        recording: any length.
        progress: called with the samples done and their total.
    """
    onsets = OnsetFrames(recording.sample_rate)
    attacks = AttackFrames(recording.sample_rate)
    chroma = ChromaFrames(recording.sample_rate)
    peak = 0.0
    for start, block in blocks(recording):
        mono = block.mean(axis=0, dtype=np.float32, keepdims=True)
        peak = max(peak, float(np.abs(block).max(initial=0)))
        onsets.push(mono)
        attacks.push(mono)
        chroma.push(mono)
        if progress is not None:
            progress(start + block.shape[1], recording.num_samples)
    return Heard(
        recording.num_samples / recording.sample_rate,
        onsets.finish(),
        onsets.band_edges_hz,
        onsets.step_s,
        attacks.finish(),
        attacks.step_s,
        chroma.finish(),
        peak,
    )


def blocks(recording: Sound, start: int = 0) -> Iterator[tuple[int, Waveform]]:
    """The samples from `start` on, block by block, each with the position of its first sample."""
    for first in range(start, recording.num_samples, BLOCK_SAMPLES):
        yield first, recording.waveform(first, min(first + BLOCK_SAMPLES, recording.num_samples))
