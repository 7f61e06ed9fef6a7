"""The Fréchet distance between two sets of features, and its spread by chance.

Both sets are modelled as Gaussians, N(μ, Σ). Their Fréchet distance (D. C. Dowson and B. V. Landau,
"The Fréchet distance between multivariate normal distributions", 1982; M. Heusel et al., "GANs
trained by a two time-scale update rule converge to a local Nash equilibrium", 2017) is

    d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½

Σ₁ Σ₂ isn't symmetric, and its general matrix square root is inaccurate if covariances have zero
eigenvalues, as with few clips. But it has the eigenvalues of S Σ₂ S with S = Σ₁^½, which is
symmetric and positive semidefinite, so the trace is the sum of their square roots.

The distance of small samples is biased upwards, so distances are only compared between sets of
equal size and equal labels: drawn clips against one half of the real clips, and that half against
the other half.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.classifier.network import Features

NUM_DRAWS = 5
"""Number of random splits into halves."""


@dataclass(frozen=True)
class FrechetScores:
    """Distances between sets of equal size and labels, means over random splits.

    Args:
        drawn_to_real: distance of drawn clips to real ones.
        real_to_real: distance of as many real clips to other real clips, for comparison.
        drawn_spread, real_spread: standard deviations over the splits.
        clips: number of clips per set.
    """

    drawn_to_real: float
    real_to_real: float
    drawn_spread: float
    real_spread: float
    clips: int


def gaussian_distance(
    mean_1: Features, covariance_1: Features, mean_2: Features, covariance_2: Features
) -> float:
    """d² of two Gaussians: means (features,), covariances (features, features); at least 0."""
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = root @ covariance_2 @ root
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    trace_of_root = float(np.sqrt(np.clip(eigenvalues, 0, None)).sum())
    between = float(((mean_1 - mean_2) ** 2).sum())
    spread = float(np.trace(covariance_1) + np.trace(covariance_2))
    return max(0.0, between + spread - 2 * trace_of_root)


def frechet_distance(features_1: Features, features_2: Features) -> float:
    """d² of two sets of features, (clips, features) each, with at least 2 clips."""
    return gaussian_distance(
        features_1.mean(0),
        np.atleast_2d(np.cov(features_1, rowvar=False)),
        features_2.mean(0),
        np.atleast_2d(np.cov(features_2, rowvar=False)),
    )


def score_frechet(
    real: Features,
    real_targets: npt.NDArray[np.int64],
    drawn: Features,
    drawn_targets: npt.NDArray[np.int64],
    seed: int,
) -> FrechetScores:
    """Distances of drawn clips to real ones, and of real ones to each other.

    Args:
        real: (clips, features) of held-out clips, at least 2 per drawn label.
        real_targets: (clips,) indices of their labels.
        drawn: (clips, features) of drawn clips.
        drawn_targets: (clips,) indices of their labels.
        seed: seed of the random splits.
    """
    rng = np.random.default_rng([seed, _HALVES])
    to_real, to_each_other, count = [], [], 0
    for _ in range(NUM_DRAWS):
        first, second, chosen = [], [], []
        for target in np.unique(drawn_targets):
            of_real = rng.permutation(np.flatnonzero(real_targets == target))
            of_drawn = rng.permutation(np.flatnonzero(drawn_targets == target))
            half = min(len(of_real) // 2, len(of_drawn))
            first.append(of_real[:half])
            second.append(of_real[half : 2 * half])
            chosen.append(of_drawn[:half])
        half_1, half_2 = real[np.concatenate(first)], real[np.concatenate(second)]
        to_real.append(frechet_distance(drawn[np.concatenate(chosen)], half_1))
        to_each_other.append(frechet_distance(half_2, half_1))
        count = len(half_1)
    return FrechetScores(
        drawn_to_real=float(np.mean(to_real)),
        real_to_real=float(np.mean(to_each_other)),
        drawn_spread=float(np.std(to_real)),
        real_spread=float(np.std(to_each_other)),
        clips=count,
    )


_HALVES = 2
"""This module's stream of random numbers for a seed."""
