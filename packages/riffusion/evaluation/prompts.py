"""Prompts to draw: captions of the held-out clips, spread evenly over caption templates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riffusion.datasets.folder import DatasetRow

UNNAMED_TEMPLATE = "caption"
"""Name for the captions of a data set that doesn't name its caption templates."""


@dataclass(frozen=True)
class ClipPrompt:
    """One clip to draw.

    Args:
        label: the label of the caption.
        template: name of the caption template.
        prompt: the caption.
        seed: seed of the noise.
    """

    label: str
    template: str
    prompt: str
    seed: int


def captions_by_template(rows: Sequence[DatasetRow], label: str) -> dict[str, tuple[str, ...]]:
    """All different captions of a label, sorted, by caption template."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.label != label:
            continue
        captions = row.all_captions
        templates = row.wordings or (UNNAMED_TEMPLATE,) * len(captions)
        for template, caption in zip(templates, captions, strict=False):
            found.setdefault(template, set()).add(caption)
    return {template: tuple(sorted(found[template])) for template in sorted(found)}


def held_out_templates(train: Sequence[DatasetRow], held_out: Sequence[DatasetRow]) -> set[str]:
    """Caption templates of the held-out rows that no training row has."""
    trained = {template for row in train for template in row.wordings}
    return {template for row in held_out for template in row.wordings} - trained


def plain_caption(rows: Sequence[DatasetRow], label: str) -> str:
    """The plainest prompt for a label: its name if that is a caption, else the most frequent first
    caption.
    """
    rows = [row for row in rows if row.label == label]
    if any(label in row.all_captions for row in rows):
        return label
    return Counter(row.all_captions[0] for row in rows).most_common(1)[0][0]


def choose_prompts(
    rows: Sequence[DatasetRow], labels: Sequence[str], clips_per_label: int, seed: int
) -> list[ClipPrompt]:
    """Clips to draw, label after label.

    Caption templates are used in turn, and the next label continues where the last one stopped, so
    that each template is used about equally often. The caption is drawn at random from those of the
    template.

    Args:
        rows: the held-out rows.
        labels: labels to draw.
        clips_per_label: number of clips per label.
        seed: decides the captions and the seeds of the clips.
    """
    rng = np.random.default_rng([seed, _PROMPTS])
    prompts: list[ClipPrompt] = []
    turn = 0
    for label in labels:
        captions = captions_by_template(rows, label)
        templates = list(captions)
        for _ in range(clips_per_label):
            template = templates[turn % len(templates)]
            prompt = str(rng.choice(captions[template]))
            prompts.append(ClipPrompt(label, template, prompt, int(rng.integers(2**31))))
            turn += 1
    return prompts


_PROMPTS = 1
"""This module's stream of random numbers for a seed."""
