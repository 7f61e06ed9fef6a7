"""Plots of the scores, as PNG bytes."""

import importlib.util
import io
from typing import TYPE_CHECKING

import numpy as np

from riffusion.errors import RiffusionError
from riffusion.evaluation.metrics.adherence import AdherenceScores
from riffusion.evaluation.metrics.img2img_agreement import Img2ImgScores
from riffusion.evaluation.metrics.interpolation_smoothness import InterpolationScores
from riffusion.evaluation.metrics.memorization import MemorizationScores
from riffusion.io.bundle import how_to_add

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 110
_DRAWN, _REAL, _OTHER = "#c4561b", "#3b6ea5", "#6b8f3c"


def check_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        RiffusionError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RiffusionError(
            "matplotlib is not installed, and the report's plots need it; "
            f"{how_to_add('matplotlib')}"
        )


def plot_confusion(scores: AdherenceScores) -> bytes:
    """Confusion matrix: labels of the prompts and predicted labels, as shares of each row."""
    asked = [label.name for label in scores.labels]
    counts = np.array(scores.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.24 * len(scores.heard_labels)
    figure, axes = _figure(side + 0.8, 1.6 + 0.24 * len(asked))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(scores.heard_labels)), scores.heard_labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(asked)), asked, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label of the prompt")
    for row, column in np.argwhere(counts > 0):
        dark = shares[row, column] > 0.6
        text = f"{counts[row, column]:.0f}"
        colour = "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(image, ax=axes, label="share of the label's clips", shrink=0.8)
    return _png(figure)


def plot_adherence(scores: AdherenceScores) -> bytes:
    """Accuracy of each label with its interval, and its accuracy on real clips."""
    labels = sorted(scores.labels, key=lambda label: (label.accuracy, label.name))
    figure, axes = _figure(7, 1.2 + 0.2 * len(labels))
    places = np.arange(len(labels))
    accuracy = np.array([label.accuracy for label in labels])
    # Rounding can make these slightly negative.
    errors = np.clip(
        [accuracy - [label.low for label in labels], [label.high for label in labels] - accuracy],
        0,
        None,
    )
    axes.barh(places, accuracy, color=_DRAWN, alpha=0.75, label="drawn, with 95 % interval")
    axes.errorbar(accuracy, places, xerr=errors, fmt="none", ecolor="black", elinewidth=0.7)
    real = [label.real_accuracy for label in labels]
    axes.plot(real, places, "|", color=_REAL, markersize=9, markeredgewidth=2, label="real")
    axes.set_yticks(places, [label.name for label in labels], fontsize=7)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.set_xlabel("share predicted as the label of the prompt")
    figure.legend(loc="outside upper center", fontsize=7, ncols=3)
    return _png(figure)


def plot_memorization(scores: MemorizationScores) -> bytes:
    """Histograms of the distances of drawn and held-out clips to the nearest training clip."""
    figure, axes = _figure(7, 3)
    top = max(*scores.drawn, *scores.real)
    edges = np.linspace(0, top if top > 0 else 1, 41)
    for values, colour, name in (
        (scores.real, _REAL, "real held-out clips"),
        (scores.drawn, _DRAWN, "drawn clips"),
    ):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, list(edges), weights=weights, alpha=0.55, color=colour, label=name)
    axes.axvline(scores.near_distance, color="black", linewidth=0.8, linestyle="--", label="near")
    label = "training clips through the VAE"
    axes.axvline(scores.copied_median, color=_OTHER, linewidth=1.5, label=label)
    axes.set_xlabel("distance to the nearest training clip")
    axes.set_ylabel("share of clips")
    axes.legend(fontsize=7)
    return _png(figure)


def plot_img2img(scores: Img2ImgScores) -> bytes:
    """Agreement with the init image, and share of the target label, by strength."""
    figure, axes = _figure(7, 3.2)
    strengths = [score.strength for score in scores.strengths]
    axes.plot(strengths, [s.beat for s in scores.strengths], "o-", color=_REAL, label="beat")
    axes.axhline(scores.unrelated_beat, color=_REAL, linestyle=":", label="beat, unrelated clips")
    pitched = [(s.strength, s.pitch) for s in scores.strengths if s.pitch is not None]
    if pitched and scores.unrelated_pitch is not None:
        axes.plot(*zip(*pitched, strict=True), "o-", color=_OTHER, label="pitch")
        axes.axhline(
            scores.unrelated_pitch, color=_OTHER, linestyle=":", label="pitch, unrelated clips"
        )
    targets = [s.hears_target for s in scores.strengths]
    axes.plot(strengths, targets, "s--", color=_DRAWN, label="target label")
    axes.set_xlabel("denoising strength")
    axes.set_ylabel("correlation, or share")
    axes.set_ylim(min(-0.05, axes.get_ylim()[0]), 1.05)
    axes.legend(fontsize=7, ncols=2)
    return _png(figure)


def plot_interpolation(scores: InterpolationScores) -> bytes:
    """Probabilities of labels along the path; below, step sizes and distances to real clips."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for label, column in zip(scores.labels, zip(*scores.probabilities, strict=True), strict=True):
        above.plot(scores.alphas, column, "o-", markersize=3, label=label)
    above.set_ylabel("probability")
    above.set_ylim(-0.02, 1.02)
    if scores.labels:
        above.legend(fontsize=7)
    below.plot(scores.alphas, scores.nearest_real, "o-", color=_DRAWN, label="to the nearest real")
    below.axhline(scores.plausible_distance, color="black", linestyle="--", label="plausible")
    middles = [(a + b) / 2 for a, b in zip(scores.alphas, scores.alphas[1:], strict=False)]
    width = 0.6 * (scores.alphas[1] - scores.alphas[0])
    below.bar(middles, scores.features.steps, width, color=_REAL, alpha=0.6, label="step")
    below.set_xlabel(f"alpha, from “{scores.start}” to “{scores.end}”")
    below.set_ylabel("distance of features")
    below.set_ylim(0)
    below.legend(fontsize=7)
    return _png(figure)


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    """A figure that isn't one of pyplot's global ones; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
