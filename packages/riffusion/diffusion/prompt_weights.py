r"""Weights inside a prompt: the syntax that users of Stable Diffusion's web interfaces know.

    (text)       weight × 1.1         (text:1.5)   weight × 1.5
    [text]       weight ÷ 1.1         \( \) \[ \] \\   the character itself

Brackets nest and multiply; one that is never closed reaches to the end of the prompt.
"""

import functools
import re
from typing import NamedTuple

from riffusion.errors import InputError

EMPHASIS = 1.1
"""Factor of one pair of brackets."""
MAX_WEIGHT = 100.0
"""Far beyond any useful weight (0 to 2); keeps embeddings finite."""

_TOKEN = re.compile(
    r"""
      \\(?P<escaped>[()\[\]\\])           # a literal bracket or backslash
    | (?P<open>[(\[])
    | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)    # closes a round bracket with a weight
    | (?P<close>[)\]])
    | (?P<text>[^\\()\[\]:]+|[\\:])       # a run of plain text, or a stray backslash or colon
    """,
    re.VERBOSE,
)


class WeightedText(NamedTuple):
    """A stretch of a prompt and its weight."""

    text: str
    weight: float


@functools.lru_cache(maxsize=256)
def parse_prompt_weights(prompt: str) -> tuple[WeightedText, ...]:
    """Split a prompt into stretches of equal weight.

    Recent results are cached: a request's prompts are checked before it waits for the model, and
    embedded later.

    Returns:
        At least one stretch; `(("", 1.0),)` for an empty prompt.

    Raises:
        InputError: a weight exceeds `MAX_WEIGHT` in size.
    """
    texts: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}  # where each open bracket's text starts

    def close(bracket: str, factor: float) -> None:
        for index in range(opened[bracket].pop(), len(weights)):
            weights[index] *= factor

    for match in _TOKEN.finditer(prompt):
        kind, token = match.lastgroup, match.group()
        if kind == "open":
            opened[token].append(len(texts))
        elif kind == "weight" and opened["("]:
            close("(", float(match["weight"]))
        elif token == ")" and opened["("]:
            close("(", EMPHASIS)
        elif token == "]" and opened["["]:
            close("[", 1 / EMPHASIS)
        else:
            texts.append(match["escaped"] or token)
            weights.append(1.0)
    for bracket, factor in (("(", EMPHASIS), ("[", 1 / EMPHASIS)):
        while opened[bracket]:
            close(bracket, factor)

    merged: list[WeightedText] = []
    for text, weight in zip(texts, weights, strict=True):
        if abs(weight) > MAX_WEIGHT:
            raise InputError(
                f"prompt weight {weight:.4g} must be from -{MAX_WEIGHT} to {MAX_WEIGHT}"
            )
        if merged and merged[-1].weight == weight:
            merged[-1] = WeightedText(merged[-1].text + text, weight)
        else:
            merged.append(WeightedText(text, weight))
    return tuple(merged) or (WeightedText("", 1.0),)
