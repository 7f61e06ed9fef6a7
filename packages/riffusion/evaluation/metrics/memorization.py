"""Does it copy? The nearest training clip of each drawn clip, wherever in the loop it begins.

Clips of one kind share their rough shape, strong below and faint above, whatever is played. So the
local mean is subtracted from small planes, which leaves notes and onsets, and they are brought to
norm 1, so that contrast doesn't count. The correlation of two of them, rolled against each other
by s columns, is

    c(s) = Σ_f Σ_t x(f, t) · y(f, t + s)

which for all s at once is an inverse FFT over time of Σ_f conj(X(f, k)) · Y(f, k): for every k a
matrix product over the frequencies. Their distance is 1 − max c(s): 0 for a copy, about 1 for
images that have nothing in common.

How near is too near, two yardsticks tell: real clips that no training has seen, since music of one
kind repeats itself, and training clips that only went through the VAE, as a copied clip would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from riffusion.evaluation.images import Plane, loudness, shrink
from riffusion.evaluation.progress import Progress, silent

ROWS, COLUMNS = 128, 64
"""Of the small planes that are compared. Pitch needs a finer grid than time."""
_LOCAL_ROWS, _LOCAL_COLUMNS = 17, 9
"""Of the neighbourhood whose mean is subtracted."""
NEAR_QUANTILE = 0.9
"""A clip is as near as a copy if this share of copies is not nearer."""
_BLOCK = 64
"""Clips against training clips at once; bounds memory."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest training clip of each clip.

    Args:
        index: (clips,) which training clip.
        distance: (clips,) how far, in [0, 2].
        roll: (clips,) columns, out of `columns`, that the clip is later than the training clip.
        columns: that were compared.
    """

    index: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    roll: npt.NDArray[np.int64]
    columns: int


@dataclass(frozen=True)
class MemorizationScores:
    """Distances of drawn clips to their nearest training clips, beside those of held-out ones.

    Args:
        drawn_median, real_median: of the distances.
        drawn_least, real_least: the smallest ones.
        copied_median: of training clips that went through the VAE.
        near_distance: the 90 % quantile of those.
        drawn_near, real_near: shares below it; alike if drawn clips are as new as real ones.
        near_by_kind: the two shares again for each kind of sound, since beats repeat themselves
            more than melodies do.
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
        clips: (clips, rows, columns) small planes.
        training: (training clips, rows, columns).
        progress: of the comparisons.
        stage: its name.
    """
    spectra, training_spectra = _spectra(clips), _spectra(training)
    index = np.zeros(len(clips), dtype=np.int64)
    roll = np.zeros(len(clips), dtype=np.int64)
    best = np.full(len(clips), -np.inf)
    columns = min(COLUMNS, clips.shape[2])
    with progress(stage) as move:
        for begin in range(0, len(training), _BLOCK):
            block = training_spectra[:, begin : begin + _BLOCK]
            # (k, block, f) @ (k, f, clips) → (block, clips, k) → correlation at every roll
            products = np.conj(block) @ spectra.transpose(0, 2, 1)
            correlation = scipy.fft.irfft(products.transpose(1, 2, 0), columns, axis=-1)
            at_best_roll = correlation.max(-1)
            nearest = at_best_roll.argmax(0)
            found = at_best_roll[nearest, np.arange(len(clips))]
            better = found > best
            best[better] = found[better]
            index[better] = begin + nearest[better]
            rolls = correlation[nearest, np.arange(len(clips))].argmax(-1)
            roll[better] = rolls[better]
            move(min(begin + _BLOCK, len(training)), len(training))
    return Neighbours(index, 1 - best, roll, columns)


def score_memorization(
    drawn: Neighbours,
    real: Neighbours,
    copied: Neighbours,
    drawn_kinds: Sequence[str],
    real_kinds: Sequence[str],
) -> MemorizationScores:
    """Compare the distances of drawn clips with those of held-out ones, and of copies.

    Args:
        drawn, real, copied: nearest training clips of each.
        drawn_kinds, real_kinds: kind of sound of each clip.
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
    """FFTs over time of the planes' details at norm 1, (k, clips, rows); a blank plane stays 0.

    irfft counts the frequencies between 0 and the highest twice, as conjugates, so correlations
    come out right without weights.
    """
    planes = loudness(np.stack([shrink(plane, ROWS, COLUMNS) for plane in small]))
    planes -= scipy.ndimage.uniform_filter(
        planes, (0, _LOCAL_ROWS, _LOCAL_COLUMNS), mode=("nearest", "nearest", "wrap")
    )
    norms = np.sqrt((planes.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
    planes /= np.maximum(norms, 1e-6).astype(np.float32)
    spectra: npt.NDArray[np.complex64] = scipy.fft.rfft(planes, axis=-1)
    return np.ascontiguousarray(spectra.transpose(2, 0, 1))
