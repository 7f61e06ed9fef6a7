"""Is what was asked for heard? Accuracy of the classifier on drawn clips, against real ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.prompts import ClipPrompt

Heard = npt.NDArray[np.int64]
"""(clips,) index of the label that the classifier hears."""

MIXTURE = "mixture"
_Z_95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class GroupScore:
    """Adherence over a group of clips.

    Args:
        name: of the group.
        clips: drawn.
        heard: of those, as what was asked for.
        accuracy: heard / clips.
        low, high: 95 % interval of the accuracy.
        real_accuracy: the classifier's on real held-out clips of the same labels.
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
        kind: of the label.
        mistaken_for: the label heard most often in its place, and how often; empty if none.
    """

    kind: str = ""
    mistaken_for: str = ""


@dataclass(frozen=True)
class AdherenceScores:
    """Adherence of a checkpoint.

    Args:
        singles: over instruments and beats; None if there are none.
        mixtures: over mixtures; None if there are none.
        labels: each label.
        wordings_of_singles, wordings_of_mixtures: each wording, over those labels.
        held_out_wordings: the wordings that the training split doesn't have.
        confusion: (labels asked for, labels heard) number of clips.
        heard_labels: what the columns of `confusion` mean.
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
    heard: Sequence[str],
    heard_labels: Sequence[str],
    real_accuracy: dict[str, float],
    kinds: dict[str, str],
    held_out_wordings: set[str],
) -> AdherenceScores:
    """Score drawn clips.

    Args:
        prompts: what was asked for.
        heard: what each clip is heard as.
        heard_labels: labels of the classifier.
        real_accuracy: of each label, on held-out clips.
        kinds: of each label; `mixture` is told apart.
        held_out_wordings: wordings that the training split doesn't have.
    """
    labels = sorted({prompt.label for prompt in prompts})
    pairs = list(zip(prompts, heard, strict=True))
    confusion = Counter((prompt.label, name) for prompt, name in pairs)

    def group(name: str, chosen: list[tuple[ClipPrompt, str]]) -> GroupScore:
        hits = sum(prompt.label == heard_name for prompt, heard_name in chosen)
        real = float(np.mean([real_accuracy[prompt.label] for prompt, _ in chosen]))
        accuracy = hits / len(chosen)
        low, high = wilson_interval(hits, len(chosen))
        relative = accuracy / real if real > 0 else None
        return GroupScore(name, len(chosen), hits, accuracy, low, high, real, relative)

    def of_label(label: str) -> LabelScore:
        score = group(label, [pair for pair in pairs if pair[0].label == label])
        others = Counter({n: confusion[label, n] for n in heard_labels if n != label})
        other, count = others.most_common(1)[0] if others else ("", 0)
        mistaken = f"{other} ({count})" if count else ""
        return LabelScore(**vars(score), kind=kinds.get(label, ""), mistaken_for=mistaken)

    singles = [pair for pair in pairs if kinds.get(pair[0].label) != MIXTURE]
    mixtures = [pair for pair in pairs if kinds.get(pair[0].label) == MIXTURE]

    def wordings(chosen: list[tuple[ClipPrompt, str]]) -> tuple[GroupScore, ...]:
        names = sorted({prompt.wording for prompt, _ in chosen})
        return tuple(group(name, [p for p in chosen if p[0].wording == name]) for name in names)

    return AdherenceScores(
        singles=group("single sounds", singles) if singles else None,
        mixtures=group("mixtures", mixtures) if mixtures else None,
        labels=tuple(of_label(label) for label in labels),
        wordings_of_singles=wordings(singles),
        wordings_of_mixtures=wordings(mixtures),
        held_out_wordings=tuple(sorted(held_out_wordings)),
        confusion=tuple(tuple(confusion[label, n] for n in heard_labels) for label in labels),
        heard_labels=tuple(heard_labels),
    )


def accuracy_by_label(
    targets: npt.NDArray[np.int64], labels: Sequence[str], heard: Heard, heard_labels: Sequence[str]
) -> dict[str, float]:
    """Share of each label's clips that are heard as it.

    Args:
        targets: (clips,) index into `labels`.
        labels: of the clips.
        heard: (clips,) index into `heard_labels`.
        heard_labels: of the classifier.
    """
    right = np.array([labels[t] == heard_labels[h] for t, h in zip(targets, heard, strict=True)])
    return {labels[t]: float(right[targets == t].mean()) for t in np.unique(targets)}


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", JASA 22, 1927).
    """
    share = hits / count
    centre = (share + _Z_95**2 / (2 * count)) / (1 + _Z_95**2 / count)
    spread = share * (1 - share) / count + (_Z_95 / (2 * count)) ** 2
    half = _Z_95 / (1 + _Z_95**2 / count) * spread**0.5
    return max(0.0, centre - half), min(1.0, centre + half)
