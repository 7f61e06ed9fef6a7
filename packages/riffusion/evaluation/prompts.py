"""Captions to draw from: those of the held-out clips, wording by wording."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riffusion.datasets.folder import DatasetRow

UNNAMED_WORDING = "caption"
"""Stands for all captions of a data set that doesn't name their wordings."""


@dataclass(frozen=True)
class ClipPrompt:
    """One clip to draw.

    Args:
        label: the sound that it should be.
        wording: name of the caption's template.
        prompt: the caption.
        seed: of the noise.
    """

    label: str
    wording: str
    prompt: str
    seed: int


def captions_by_wording(rows: Sequence[DatasetRow], label: str) -> dict[str, tuple[str, ...]]:
    """All captions of a label, sorted and each once, by wording."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.label != label:
            continue
        captions = row.all_captions
        wordings = row.wordings or (UNNAMED_WORDING,) * len(captions)
        for wording, caption in zip(wordings, captions, strict=False):
            found.setdefault(wording, set()).add(caption)
    return {wording: tuple(sorted(found[wording])) for wording in sorted(found)}


def held_out_wordings(train: Sequence[DatasetRow], held_out: Sequence[DatasetRow]) -> set[str]:
    """Wordings of the held-out rows that no training row has."""
    trained = {wording for row in train for wording in row.wordings}
    return {wording for row in held_out for wording in row.wordings} - trained


def plain_caption(rows: Sequence[DatasetRow], label: str) -> str:
    """The plainest way to ask for a label: its name where that is a caption, else the caption that
    most rows have first.
    """
    rows = [row for row in rows if row.label == label]
    if any(label in row.all_captions for row in rows):
        return label
    return Counter(row.all_captions[0] for row in rows).most_common(1)[0][0]


def choose_prompts(
    rows: Sequence[DatasetRow], labels: Sequence[str], clips_per_label: int, seed: int
) -> list[ClipPrompt]:
    """Clips to draw, label after label.

    Wordings take turns, and the next label goes on where this one stops, so that each wording is
    asked for about equally often. Among the captions of a wording the seed draws.

    Args:
        rows: the held-out rows.
        labels: which labels.
        clips_per_label: for each.
        seed: of the choice, and of the clips' own seeds.
    """
    rng = np.random.default_rng([seed, _PROMPTS])
    prompts: list[ClipPrompt] = []
    turn = 0
    for label in labels:
        captions = captions_by_wording(rows, label)
        wordings = list(captions)
        for _ in range(clips_per_label):
            wording = wordings[turn % len(wordings)]
            prompt = str(rng.choice(captions[wording]))
            prompts.append(ClipPrompt(label, wording, prompt, int(rng.integers(2**31))))
            turn += 1
    return prompts


_PROMPTS = 1
"""Tells this stream of random numbers from others of one seed."""
