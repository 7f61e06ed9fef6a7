"""Memorization: the nearest training clip of each drawn clip, under any circular shift.

All clips of a kind share their rough shape, loud at low and quiet at high frequencies. So the local
mean is subtracted from small planes, which leaves notes and onsets, and they are normalized, so
that contrast doesn't matter. The correlation of two of them at a circular shift of s frames is

    c(s) = Σ_f Σ_t x(f, t) · y(f, t + s)

For all s at once it is an inverse FFT over time of Σ_f conj(X(f, k)) · Y(f, k), which is a matrix
product over the frequencies for every k. Their distance is 1 − max c(s): 0 for a copy, about 1 for
unrelated images.

Two distances show what is too near: those of real clips that no training has seen, because music of
one kind is repetitive, and those of training clips that the VAE reconstructed, as a copy would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from riffusion.evaluation.images import Plane, loudness, shrink
from riffusion.evaluation.progress import Progress, silent

ROWS, FRAMES = 128, 64
"""Size of the planes that are compared. Pitch needs a finer grid than time."""
_LOCAL_ROWS, _LOCAL_FRAMES = 17, 9
"""Size of the neighbourhood whose mean is subtracted."""
NEAR_QUANTILE = 0.9
"""A clip is as near as a copy if it is below this quantile of the copies' distances."""
_BLOCK = 64
"""Training clips that are compared at once; limits memory."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest training clip of each clip.

    Args:
        index: (clips,) index of the training clip.
        distance: (clips,) distance in [0, 2].
        shift: (clips,) circular shift of the training clip, in frames, that matches the clip.
        num_frames: number of frames of the compared planes.
    """

    index: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    shift: npt.NDArray[np.int64]
    num_frames: int


@dataclass(frozen=True)
class MemorizationScores:
    """Distances of drawn clips and held-out clips to their nearest training clips.

    Args:
        drawn_median, real_median: medians of the distances.
        drawn_least, real_least: smallest distances.
        copied_median: median distance of training clips that the VAE reconstructed.
        near_distance: 90 % quantile of those.
        drawn_near, real_near: shares below it; equal if drawn clips are as new as real ones.
        near_by_kind: the two shares for each kind of sound, because beats are more repetitive than
            melodies.
        drawn, real: all distances.
    """

    drawn_median: float
    real_median: float
    drawn_least: float
    real_least: float
    copied_median: float
    near_distance: float
    drawn_near: float
    real_near: float
    near_by_kind: dict[str, tuple[float, float]]
    drawn: tuple[float, ...]
    real: tuple[float, ...]


def nearest_neighbours(
    clips: Plane, training: Plane, progress: Progress = silent, stage: str = "nearest neighbours"
) -> Neighbours:
    """The nearest training clip of each clip.

    Args:
        clips: (clips, rows, frames) small planes.
        training: (training clips, rows, frames).
        progress: shows how many training clips are compared.
        stage: label of the progress stage.
    """
    spectra, training_spectra = _spectra(clips), _spectra(training)
    index = np.zeros(len(clips), dtype=np.int64)
    shift = np.zeros(len(clips), dtype=np.int64)
    best = np.full(len(clips), -np.inf)
    num_frames = min(FRAMES, clips.shape[2])
    with progress(stage) as move:
        for begin in range(0, len(training), _BLOCK):
            block = training_spectra[:, begin : begin + _BLOCK]
            # (k, block, f) @ (k, f, clips) → (block, clips, k) → correlation at every shift
            products = np.conj(block) @ spectra.transpose(0, 2, 1)
            correlation = scipy.fft.irfft(products.transpose(1, 2, 0), num_frames, axis=-1)
            at_best_shift = correlation.max(-1)
            nearest = at_best_shift.argmax(0)
            found = at_best_shift[nearest, np.arange(len(clips))]
            better = found > best
            best[better] = found[better]
            index[better] = begin + nearest[better]
            shifts = correlation[nearest, np.arange(len(clips))].argmax(-1)
            shift[better] = shifts[better]
            move(min(begin + _BLOCK, len(training)), len(training))
    return Neighbours(index, 1 - best, shift, num_frames)


def score_memorization(
    drawn: Neighbours,
    real: Neighbours,
    copied: Neighbours,
    drawn_kinds: Sequence[str],
    real_kinds: Sequence[str],
) -> MemorizationScores:
    """Compare the distances of drawn clips, held-out clips and copies.

    Args:
        drawn, real, copied: nearest training clips of each.
        drawn_kinds, real_kinds: kind of each clip.
    """
    near = float(np.quantile(copied.distance, NEAR_QUANTILE))
    return MemorizationScores(
        drawn_median=float(np.median(drawn.distance)),
        real_median=float(np.median(real.distance)),
        drawn_least=float(drawn.distance.min()),
        real_least=float(real.distance.min()),
        copied_median=float(np.median(copied.distance)),
        near_distance=near,
        drawn_near=float((drawn.distance < near).mean()),
        real_near=float((real.distance < near).mean()),
        near_by_kind={
            kind: (
                float((drawn.distance[np.array(drawn_kinds) == kind] < near).mean()),
                float((real.distance[np.array(real_kinds) == kind] < near).mean()),
            )
            for kind in sorted({*drawn_kinds} & {*real_kinds})
        },
        drawn=tuple(map(float, drawn.distance)),
        real=tuple(map(float, real.distance)),
    )


def _spectra(small: Plane) -> npt.NDArray[np.complex64]:
    """FFTs over time of the planes' normalized details, (k, clips, rows); blank planes stay 0.

    They need no weights: irfft itself counts the frequencies between 0 and the highest twice.
    """
    planes = loudness(np.stack([shrink(plane, ROWS, FRAMES) for plane in small]))
    planes -= scipy.ndimage.uniform_filter(
        planes, (0, _LOCAL_ROWS, _LOCAL_FRAMES), mode=("nearest", "nearest", "wrap")
    )
    norms = np.sqrt((planes.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
    planes /= np.maximum(norms, 1e-6).astype(np.float32)
    spectra: npt.NDArray[np.complex64] = scipy.fft.rfft(planes, axis=-1)
    return np.ascontiguousarray(spectra.transpose(2, 0, 1))
