"""The scores of the evaluation, on known inputs."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.spatial.distance

from riffusion.audio.compiled_librosa import load_librosa
from riffusion.evaluation.metrics.adherence import (
    accuracy_by_label,
    score_adherence,
    wilson_interval,
)
from riffusion.evaluation.metrics.diversity import mean_pair_distance, score_diversity
from riffusion.evaluation.metrics.frechet import (
    frechet_distance,
    gaussian_distance,
    score_frechet,
)
from riffusion.evaluation.metrics.interpolation_smoothness import nearest_distance, path_shape
from riffusion.evaluation.metrics.memorization import (
    Neighbours,
    nearest_neighbours,
    score_memorization,
)
from riffusion.evaluation.metrics.sharpness import edges_kept, gradients
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.spectrogram.params import SpectrogramParams

EXACT = 1e-9
"""Relative; float64 sums in another order."""
SAMPLE_ERROR = 0.1
"""Relative error of a Fréchet distance of 20,000 samples in 4 dimensions; the maximum over 20 seeds
was 0.03."""
COPY_DISTANCE = 0.02
"""1 − correlation of a plane with its 8-bit copy at two thirds of the contrast."""


def random_covariance(rng, size, rank=None):
    factor = rng.standard_normal((size, rank or size))
    return factor @ factor.T / size


def test_frechet_distance_of_gaussians_with_diagonal_covariances() -> None:
    mean, zero = np.array([3.0, -4.0, 0.0]), np.zeros(3)
    first, second = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    expected = 25 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    found = gaussian_distance(mean, np.diag(first), zero, np.diag(second))
    assert found == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_frechet_distance_equals_the_general_matrix_square_root(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = random_covariance(rng, 12), random_covariance(rng, 12)
    means = rng.standard_normal((2, 12))
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(first + second - 2 * root)
    found = gaussian_distance(means[0], first, means[1], second)
    assert found == pytest.approx(expected, rel=1e-6)  # sqrtm's own accuracy


def test_frechet_distance_of_few_clips_is_finite_symmetric_and_zero_to_itself() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((5, 64)), rng.standard_normal((5, 64))  # rank 4 of 64
    there, back = frechet_distance(first, second), frechet_distance(second, first)
    assert there == pytest.approx(back, rel=1e-6) and there > 1
    assert frechet_distance(first, first) < 1e-5  # √ of eigenvalues that are 0 up to rounding


def test_frechet_distance_of_samples_approaches_that_of_their_distributions() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((20_000, 4))
    second = 2 * rng.standard_normal((20_000, 4)) + 1
    expected = 4 * 1**2 + 4 * (2 - 1) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected, rel=SAMPLE_ERROR)


def test_equal_distributions_have_ratio_one_and_a_shift_raises_it() -> None:
    rng = np.random.default_rng(0)
    real_targets, targets = np.repeat([0, 1], 40), np.repeat([0, 1], 20)
    real = rng.standard_normal((80, 8)) + real_targets[:, None]
    like_real = rng.standard_normal((40, 8)) + targets[:, None]
    alike = score_frechet(real, real_targets, like_real, targets, seed=0)
    shifted = score_frechet(real, real_targets, like_real + 2, targets, seed=0)
    assert alike.clips == 40
    ratio = alike.drawn_to_real / alike.real_to_real
    assert ratio == pytest.approx(1, abs=0.35)  # spread with 40 clips in 8 dimensions
    assert shifted.drawn_to_real - alike.drawn_to_real == pytest.approx(8 * 2**2, rel=0.2)
    assert shifted.real_to_real == alike.real_to_real


def test_diversity() -> None:
    points = np.array([[0.0, 0], [3, 4], [0, 0]])
    assert mean_pair_distance(points) == pytest.approx((5 + 0 + 5) / 3)
    targets = np.array([0, 0, 0])
    same = score_diversity(points, targets, points, targets, ["a"])
    collapsed = score_diversity(points, targets, points * 0 + 7, targets, ["a"])
    assert same.ratio == pytest.approx(1) and same.labels == {"a": pytest.approx(1)}
    assert collapsed.ratio == pytest.approx(0, abs=1e-6)


def noise_planes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 128, 64)).astype(np.uint8)


@pytest.mark.parametrize("shift", [0, 1, 17, 63])
def test_a_planted_copy_is_found_at_any_circular_shift(shift: int) -> None:
    training = noise_planes(150, seed=1)  # more than a block
    clips = noise_planes(3, seed=2)
    clips[1] = (np.roll(training[140], shift, axis=1) / 3 * 2 + 20).astype(np.uint8)
    found = nearest_neighbours(clips, training)
    assert found.index[1] == 140
    assert found.shift[1] == shift
    assert found.distance[1] < COPY_DISTANCE
    assert (found.distance[[0, 2]] > 0.8).all()  # independent noise


def test_blank_images_are_unrelated_to_all() -> None:
    blank = np.zeros((1, 128, 64), dtype=np.uint8)
    assert nearest_neighbours(blank, noise_planes(2, seed=1)).distance == pytest.approx(1)
    assert nearest_neighbours(noise_planes(2, seed=1), blank).distance == pytest.approx(1)


def test_copies_among_drawn_clips_are_counted() -> None:
    def at(*distances: float) -> Neighbours:
        zeros = np.zeros(len(distances), dtype=np.int64)
        return Neighbours(zeros, np.array(distances), zeros, 64)

    scores = score_memorization(
        at(0.05, 0.5, 0.6, 0.7),
        at(0.4, 0.02, 0.5),
        at(0.1, 0.1, 0.1),
        ["instrument", "instrument", "beat", "beat"],
        ["instrument", "beat", "beat"],
    )
    assert scores.drawn_near == 0.25 and scores.real_near == pytest.approx(1 / 3)
    assert scores.near_by_kind == {"beat": (0, 0.5), "instrument": (0.5, 0)}
    assert scores.drawn_least == 0.05 and scores.copied_median == pytest.approx(0.1)


def test_edges_kept_falls_with_blur_and_not_with_noise() -> None:
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    assert vars(edges_kept(plane, plane)) == pytest.approx({"time": 1, "frequency": 1})
    over_time = scipy.ndimage.uniform_filter1d(plane, 5, axis=1)
    kept = edges_kept(plane, over_time)
    # A difference of means over 5 is (x[t + 3] - x[t - 2]) / 5, which for noise is independent of
    # x[t + 1] - x[t]; along the other axis, a fifth of each value is the original's.
    assert (kept.time, kept.frequency) == pytest.approx((0, 1 / 5), abs=0.03)
    noise = rng.normal(0, 40, plane.shape)
    noisy = np.clip(plane // 2 + 64 + noise, 0, 255).astype(np.uint8)
    assert edges_kept(plane, noisy).time == pytest.approx(0.5, abs=0.05)
    assert gradients(noisy).time > 0.6 * gradients(plane).time  # gradients are raised by noise


def test_gradients_of_a_ramp() -> None:
    ramp = np.tile(np.arange(0, 200, 4, dtype=np.uint8), (10, 1))
    assert vars(gradients(ramp)) == {"time": 4.0, "frequency": 0.0}


def test_shape_of_paths() -> None:
    line = np.linspace(0, 1, 11)[:, None] * np.array([3.0, 4.0])
    shape = path_shape(line)
    assert shape.steps == pytest.approx([0.5] * 10)
    assert (shape.max_to_mean, shape.length_to_distance) == pytest.approx((1, 1))
    angles = np.linspace(0, np.pi, 1001)
    half_circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert path_shape(half_circle).length_to_distance == pytest.approx(np.pi / 2, rel=1e-5)
    jump = np.array([[0.0], [1], [5], [6]])
    assert path_shape(jump).max_to_mean == pytest.approx(4 / 2)


def test_nearest_distance_equals_all_pairs() -> None:
    rng = np.random.default_rng(0)
    features, real = rng.standard_normal((7, 5)), rng.standard_normal((9, 5))
    pairs = scipy.spatial.distance.cdist(features, real)
    assert nearest_distance(features, real) == pytest.approx(pairs.min(1))
    among = scipy.spatial.distance.cdist(real, real) + np.diag([np.inf] * 9)
    assert nearest_distance(real, real, itself=True) == pytest.approx(among.min(1))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_adherence_of_a_known_confusion() -> None:
    asked = ["piano", "piano", "piano", "piano", "drums", "drums", "duo", "duo"]
    heard = ["piano", "piano", "drums", "drums", "drums", "drums", "duo", "piano"]
    templates = ["plain", "new"] * 4
    labels = ["drums", "duo", "piano"]
    prompts = [ClipPrompt(a, w, a, 0) for a, w in zip(asked, templates, strict=True)]
    scores = score_adherence(
        prompts,
        heard,
        labels,
        {"piano": 0.8, "drums": 1.0, "duo": 0.5},
        {"piano": "instrument", "drums": "beat", "duo": "mixture"},
        {"new"},
    )
    singles, mixtures = scores.singles, scores.mixtures
    assert singles is not None and mixtures is not None
    assert (singles.clips, singles.heard) == (6, 4)
    assert singles.real_accuracy == pytest.approx((4 * 0.8 + 2 * 1.0) / 6)
    assert singles.relative == pytest.approx((4 / 6) / singles.real_accuracy)
    assert (mixtures.accuracy, mixtures.relative) == pytest.approx((0.5, 1.0))
    assert scores.confusion == ((2, 0, 0), (0, 1, 1), (2, 0, 2))
    by_label = {label.name: label for label in scores.labels}
    assert by_label["piano"].mistaken_for == "drums (2)"
    assert by_label["drums"].mistaken_for == ""
    assert {group.name: group.heard for group in scores.wordings_of_singles} == {
        "plain": 2,
        "new": 2,
    }
    assert scores.held_out_wordings == ("new",)


def test_accuracy_by_label_of_a_classifier_with_more_labels() -> None:
    targets = np.array([0, 0, 1, 1])
    predicted = np.array([2, 0, 1, 1])  # bells, piano, organ, organ
    found = accuracy_by_label(targets, ["bells", "organ"], predicted, ["piano", "organ", "bells"])
    assert found == {"bells": 0.5, "organ": 1.0}


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_row_frequencies_are_those_of_the_filterbank(scale: str) -> None:
    from riffusion.evaluation.metrics.chroma import mel_row_frequencies_hz

    params = SpectrogramParams(mel_scale_type=scale, num_frequencies=96, max_frequency=8000)
    expected = load_librosa().mel_frequencies(98, fmin=0, fmax=8000, htk=scale == "htk")[1:-1]
    assert mel_row_frequencies_hz(params) == pytest.approx(expected, rel=1e-6)
