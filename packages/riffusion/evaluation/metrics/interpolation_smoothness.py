"""Smoothness of the interpolation between two prompts: even steps, and plausible images between."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.classifier.network import Classifier, Features
from riffusion.evaluation.images import Plane, loudness, shrink
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings

PLAUSIBLE_QUANTILE = 0.95
"""An image is plausible if its nearest real clip is within this quantile of the distances between
real clips and their nearest neighbours."""


@dataclass(frozen=True)
class PathShape:
    """Shape of a path through a space.

    Args:
        steps: distances between neighbouring positions.
        max_to_mean: largest step / mean step; 1 if all are equal.
        length_to_distance: length of the path / distance between its ends; 1 if it is straight.
    """

    steps: tuple[float, ...]
    max_to_mean: float
    length_to_distance: float


@dataclass(frozen=True)
class InterpolationScores:
    """Paths from one prompt to another, means over all paths.

    Args:
        start, end: the prompts.
        alphas: positions on the path.
        features: shape in the classifier's feature space.
        pictures: shape in the pixels of small planes, in grey levels of 255.
        nearest_real: distance of the features at each position to the nearest real clip's.
        plausible_distance: maximum distance that is plausible, see `PLAUSIBLE_QUANTILE`.
        plausible_share: share of the images between the ends that are plausible.
        labels: labels with a mean probability of at least 0.1 at some position.
        probabilities: (alphas, labels) mean probabilities of these labels.
        paths: number of paths.
    """

    start: str
    end: str
    alphas: tuple[float, ...]
    features: PathShape
    pictures: PathShape
    nearest_real: tuple[float, ...]
    plausible_distance: float
    plausible_share: float
    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    paths: int


_LIKELY = 0.1
"""Minimum mean probability of a label that is reported."""


def path_shape(points: npt.NDArray[np.floating]) -> PathShape:
    """Shape of a path through (positions, dimensions), at least 2 positions."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    distance = float(np.linalg.norm(points[-1] - points[0]))
    return PathShape(
        tuple(map(float, steps)),
        float(steps.max() / max(float(steps.mean()), 1e-12)),
        float(steps.sum() / max(distance, 1e-12)),
    )


def draw_paths(sampler: Sampler, settings: EvaluationSettings) -> list[list[Plane]]:
    """Draw paths of images; both ends of a path have the same seed.

    Raises:
        InputError: a prompt is too long.
        CheckpointError: an image contains NaN.
    """
    rng = np.random.default_rng([settings.seed, _PATHS])
    seeds = [int(seed) for seed in rng.integers(2**31, size=settings.interpolation_paths)]
    count = settings.interpolation_steps + 1
    requests = []
    for seed in seeds:
        first = sampler.request(settings.interpolate_from, seed)
        last = sampler.request(settings.interpolate_to, seed).start
        for step in range(count):
            alpha = step / settings.interpolation_steps
            requests.append((first.model_copy(update={"end": last, "alpha": alpha}), None))
    planes = list(sampler.sample(requests, "interpolation"))
    return [planes[begin : begin + count] for begin in range(0, len(planes), count)]


def score_interpolation(
    paths: Sequence[Sequence[Plane]],
    classifier: Classifier,
    real: Features,
    settings: EvaluationSettings,
) -> InterpolationScores:
    """Score paths.

    Args:
        paths: planes of each path; all paths have the same number of positions.
        classifier: computes features and probabilities.
        real: (clips, features) of real held-out clips.
        settings: settings that the paths were drawn with.
    """
    small = np.stack([[shrink(plane) for plane in path] for path in paths])
    num_paths, num_positions = small.shape[:2]
    features, probabilities = classifier.predict(small.reshape(-1, *small.shape[2:]))
    nearest = nearest_distance(features, real).reshape(num_paths, num_positions)
    plausible = float(np.quantile(nearest_distance(real, real, itself=True), PLAUSIBLE_QUANTILE))
    mean_probabilities = probabilities.reshape(num_paths, num_positions, -1).mean(0)
    shown = [int(i) for i in np.flatnonzero(mean_probabilities.max(0) >= _LIKELY)]
    pixels = loudness(small).reshape(num_paths, num_positions, -1) * 255
    pixels /= np.sqrt(pixels.shape[-1])  # norms become root mean squares
    return InterpolationScores(
        start=settings.interpolate_from,
        end=settings.interpolate_to,
        alphas=tuple(step / (num_positions - 1) for step in range(num_positions)),
        features=_mean_shape(features.reshape(num_paths, num_positions, -1)),
        pictures=_mean_shape(pixels),
        nearest_real=tuple(map(float, nearest.mean(0))),
        plausible_distance=plausible,
        plausible_share=float((nearest[:, 1:-1] <= plausible).mean()),
        labels=tuple(classifier.labels[index] for index in shown),
        probabilities=tuple(tuple(map(float, row)) for row in mean_probabilities[:, shown]),
        paths=num_paths,
    )


def nearest_distance(
    features: Features, real: Features, itself: bool = False
) -> npt.NDArray[np.float64]:
    """Euclidean distance of each clip's features to the nearest of `real`, (clips,).

    Args:
        features: (clips, features).
        real: (real clips, features).
        itself: whether both are the same clips; then a clip is not its own neighbour.
    """
    squares = (features**2).sum(1)[:, None] + (real**2).sum(1) - 2 * features @ real.T
    if itself:
        np.fill_diagonal(squares, np.inf)
    distances: npt.NDArray[np.float64] = np.sqrt(np.clip(squares.min(1), 0, None))
    return distances


def _mean_shape(paths: npt.NDArray[np.floating]) -> PathShape:
    shapes = [path_shape(points) for points in paths]
    steps = np.mean([shape.steps for shape in shapes], axis=0)
    return PathShape(
        tuple(map(float, steps)),
        float(np.mean([shape.max_to_mean for shape in shapes])),
        float(np.mean([shape.length_to_distance for shape in shapes])),
    )


_PATHS = 6
"""This module's stream of random numbers for a seed."""
