"""Prompt adherence: accuracy of the classifier on drawn clips, compared with real clips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.prompts import ClipPrompt

Predicted = npt.NDArray[np.int64]
"""(clips,) index of the predicted label."""

MIXTURE = "mixture"
_Z_95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class GroupScore:
    """Adherence over a group of clips.

    Args:
        name: name of the group.
        clips: number of drawn clips.
        heard: number of clips whose predicted label is that of the prompt.
        accuracy: heard / clips.
        low, high: 95 % interval of the accuracy.
        real_accuracy: the classifier's accuracy on real held-out clips of the same labels.
        relative: accuracy / real_accuracy; None if that is 0.
    """

    name: str
    clips: int
    heard: int
    accuracy: float
    low: float
    high: float
    real_accuracy: float
    relative: float | None


@dataclass(frozen=True)
class LabelScore(GroupScore):
    """Adherence of one label.

    Args:
        kind: kind of the label.
        mistaken_for: the most frequent wrong prediction with its count; empty if there is none.
    """

    kind: str = ""
    mistaken_for: str = ""


@dataclass(frozen=True)
class AdherenceScores:
    """Adherence of a checkpoint.

    Args:
        singles: score over instruments and beats; None if there are none.
        mixtures: score over mixtures; None if there are none.
        labels: score of each label.
        wordings_of_singles, wordings_of_mixtures: score of each caption template, over those
            labels.
        held_out_wordings: the caption templates that the training split doesn't have.
        confusion: (labels of prompts, predicted labels) number of clips.
        heard_labels: labels of the columns of `confusion`.
    """

    singles: GroupScore | None
    mixtures: GroupScore | None
    labels: tuple[LabelScore, ...]
    wordings_of_singles: tuple[GroupScore, ...]
    wordings_of_mixtures: tuple[GroupScore, ...]
    held_out_wordings: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    heard_labels: tuple[str, ...]


def score_adherence(
    prompts: Sequence[ClipPrompt],
    predicted: Sequence[str],
    known_labels: Sequence[str],
    real_accuracy: dict[str, float],
    kinds: dict[str, str],
    held_out_templates: set[str],
) -> AdherenceScores:
    """Score drawn clips.

    Args:
        prompts: prompt of each clip.
        predicted: predicted label of each clip.
        known_labels: labels of the classifier.
        real_accuracy: the classifier's accuracy on held-out clips of each label.
        kinds: kind of each label; `mixture` is scored separately.
        held_out_templates: caption templates that the training split doesn't have.
    """
    labels = sorted({prompt.label for prompt in prompts})
    pairs = list(zip(prompts, predicted, strict=True))
    confusion = Counter((prompt.label, name) for prompt, name in pairs)

    def group(name: str, chosen: list[tuple[ClipPrompt, str]]) -> GroupScore:
        hits = sum(prompt.label == name for prompt, name in chosen)
        real = float(np.mean([real_accuracy[prompt.label] for prompt, _ in chosen]))
        accuracy = hits / len(chosen)
        low, high = wilson_interval(hits, len(chosen))
        relative = accuracy / real if real > 0 else None
        return GroupScore(name, len(chosen), hits, accuracy, low, high, real, relative)

    def of_label(label: str) -> LabelScore:
        score = group(label, [pair for pair in pairs if pair[0].label == label])
        others = Counter({n: confusion[label, n] for n in known_labels if n != label})
        other, count = others.most_common(1)[0] if others else ("", 0)
        mistaken = f"{other} ({count})" if count else ""
        return LabelScore(**vars(score), kind=kinds.get(label, ""), mistaken_for=mistaken)

    singles = [pair for pair in pairs if kinds.get(pair[0].label) != MIXTURE]
    mixtures = [pair for pair in pairs if kinds.get(pair[0].label) == MIXTURE]

    def by_template(chosen: list[tuple[ClipPrompt, str]]) -> tuple[GroupScore, ...]:
        names = sorted({prompt.template for prompt, _ in chosen})
        return tuple(group(name, [p for p in chosen if p[0].template == name]) for name in names)

    return AdherenceScores(
        singles=group("single sounds", singles) if singles else None,
        mixtures=group("mixtures", mixtures) if mixtures else None,
        labels=tuple(of_label(label) for label in labels),
        wordings_of_singles=by_template(singles),
        wordings_of_mixtures=by_template(mixtures),
        held_out_wordings=tuple(sorted(held_out_templates)),
        confusion=tuple(tuple(confusion[label, n] for n in known_labels) for label in labels),
        heard_labels=tuple(known_labels),
    )


def accuracy_by_label(
    targets: npt.NDArray[np.int64],
    labels: Sequence[str],
    predicted: Predicted,
    known_labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy of the predictions for the clips of each label.

    Args:
        targets: (clips,) index into `labels`.
        labels: labels of the clips.
        predicted: (clips,) index into `known_labels`.
        known_labels: labels of the classifier.
    """
    pairs = zip(targets, predicted, strict=True)
    right = np.array([labels[target] == known_labels[index] for target, index in pairs])
    return {labels[t]: float(right[targets == t].mean()) for t in np.unique(targets)}


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share (E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 22, 1927).
    """
    share = hits / count
    centre = (share + _Z_95**2 / (2 * count)) / (1 + _Z_95**2 / count)
    spread = share * (1 - share) / count + (_Z_95 / (2 * count)) ** 2
    half = _Z_95 / (1 + _Z_95**2 / count) * spread**0.5
    return max(0.0, centre - half), min(1.0, centre + half)
