"""What an independent tagger hears in clips, and how harmonic their melodies are.

Four sets of clips have equally many of each label: real clips as reference, other real clips, those
through the VAE, and drawn clips. All are inverted from image to audio. Distances of the sets to the
reference are Fréchet distances in the tagger's features; that of the other real clips is what
chance makes.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.metrics.frechet import frechet_distance
from riffusion.evaluation.metrics.harmonicity import Harmonicity
from riffusion.evaluation.metrics.hearing import Clip, HeardClips, Listener

REFERENCE, REAL, COPIES, DRAWN = "reference", "real", "copies", "drawn"
TOP_TAGS = 3
MELODIC_CERTAINTY = 0.5
"""A label is melodic if the pitch tracker is at least this certain about its real clips."""


@dataclass(frozen=True)
class HeardLabel:
    """How a label is heard.

    Args:
        name: the label.
        tag: the tag that stands for it: one that is part of its name, or else the one that real
            clips have more often than clips of other labels.
        real, copies, drawn: share of each set's clips in which the tag is among the first three.
        real_mean, copies_mean, drawn_mean: mean probability of the tag.
        harmonicity: of each set but the reference; None if the label isn't melodic.
    """

    name: str
    tag: str
    real: float
    copies: float
    drawn: float
    real_mean: float
    copies_mean: float
    drawn_mean: float
    harmonicity: dict[str, Harmonicity] | None


@dataclass(frozen=True)
class ListeningScores:
    """What an independent tagger hears.

    Args:
        tagger: its name.
        clips: number of clips per set.
        real_distance, copies_distance, drawn_distance: Fréchet distances to the reference of other
            real clips, real clips through the VAE, and drawn clips.
        labels: scores per label.
    """

    tagger: str
    clips: int
    real_distance: float
    copies_distance: float
    drawn_distance: float
    labels: list[HeardLabel]


def score_listening(
    sets: Mapping[str, Sequence[Clip]],
    listener: Listener,
    solo_labels: Sequence[str],
    moved: Callable[[int, int], None] = lambda done, total: None,
) -> ListeningScores:
    """Listen to all clips.

    Args:
        sets: clips by name of their set; equally many of each label in every set.
        listener: listens to them.
        solo_labels: labels whose clips may have one melodic voice.
        moved: is told how many clips of how many are done.
    """
    total = sum(map(len, sets.values()))
    numbers = itertools.count(1)

    def listen(name: str, melodic: Collection[str]) -> HeardClips:
        return listener.listen(sets[name], melodic, lambda: moved(next(numbers), total))

    heard = {REFERENCE: listen(REFERENCE, ()), REAL: listen(REAL, solo_labels)}
    melodic = {
        label
        for label in solo_labels
        if heard[REAL].mean_harmonicity(label).certainty >= MELODIC_CERTAINTY
    }
    heard |= {name: listen(name, melodic) for name in (COPIES, DRAWN)}
    reference = heard[REFERENCE].features
    return ListeningScores(
        tagger=listener.tagger.name,
        clips=len(reference),
        real_distance=frechet_distance(heard[REAL].features, reference),
        copies_distance=frechet_distance(heard[COPIES].features, reference),
        drawn_distance=frechet_distance(heard[DRAWN].features, reference),
        labels=[
            _score_label(str(label), heard, listener.tagger.tags, str(label) in melodic)
            for label in np.unique(heard[REFERENCE].labels)
        ],
    )


def tag_of_label(
    label: str, tags: Sequence[str], top: npt.NDArray[np.bool_], is_label: npt.NDArray[np.bool_]
) -> int:
    """Index of the tag that stands for a label.

    Args:
        label: the label.
        tags: all tags.
        top: (clips, tags) whether a tag is among the first three of a real clip.
        is_label: (clips,) whether a clip has the label.
    """
    named = [index for index, tag in enumerate(tags) if f" {tag} " in f" {label} "]
    if named:
        return max(named, key=lambda index: (len(tags[index]), -index))
    others = top[~is_label].mean(0) if not is_label.all() else 0
    return int(np.argmax(top[is_label].mean(0) - others))


def _score_label(
    label: str, heard: dict[str, HeardClips], tags: Sequence[str], is_melodic: bool
) -> HeardLabel:
    reference = heard[REFERENCE]
    tag = tag_of_label(label, tags, reference.top(TOP_TAGS), reference.labels == label)
    shares, means = {}, {}
    for name in (REAL, COPIES, DRAWN):
        of_label = heard[name].labels == label
        shares[name] = float(heard[name].top(TOP_TAGS)[of_label, tag].mean())
        means[name] = float(heard[name].tags[of_label, tag].mean())
    return HeardLabel(
        label,
        tags[tag],
        shares[REAL],
        shares[COPIES],
        shares[DRAWN],
        means[REAL],
        means[COPIES],
        means[DRAWN],
        {name: heard[name].mean_harmonicity(label) for name in (REAL, COPIES, DRAWN)}
        if is_melodic
        else None,
    )
