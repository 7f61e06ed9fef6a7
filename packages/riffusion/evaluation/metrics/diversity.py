"""Diversity within a label: mean distance of pairs in feature space, compared with real clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.classifier.network import Features


@dataclass(frozen=True)
class DiversityScores:
    """Mean distances of pairs within a label.

    Args:
        drawn: mean distance of drawn clips, averaged over labels.
        real: the same for real held-out clips.
        ratio: drawn / real; near 0 if all clips of a label are the same.
        labels: ratio of each label.
    """

    drawn: float
    real: float
    ratio: float
    labels: dict[str, float]


def mean_pair_distance(features: Features) -> float:
    """Mean Euclidean distance over all pairs of rows of (clips, features), at least 2 clips."""
    squares = (features**2).sum(1)
    squared = squares[:, None] + squares - 2 * features @ features.T
    above = np.triu_indices(len(features), 1)
    return float(np.sqrt(np.clip(squared[above], 0, None)).mean())


def score_diversity(
    real: Features,
    real_targets: npt.NDArray[np.int64],
    drawn: Features,
    drawn_targets: npt.NDArray[np.int64],
    labels: Sequence[str],
) -> DiversityScores:
    """Score the labels that were drawn.

    Args:
        real, drawn: (clips, features), at least 2 clips per drawn label.
        real_targets, drawn_targets: (clips,) index into `labels`.
        labels: all labels.
    """
    of_drawn, of_real, ratios = [], [], {}
    for target in np.unique(drawn_targets):
        of_drawn.append(mean_pair_distance(drawn[drawn_targets == target]))
        of_real.append(mean_pair_distance(real[real_targets == target]))
        ratios[labels[target]] = of_drawn[-1] / max(of_real[-1], 1e-12)
    mean_drawn, mean_real = float(np.mean(of_drawn)), float(np.mean(of_real))
    return DiversityScores(mean_drawn, mean_real, mean_drawn / max(mean_real, 1e-12), ratios)
