"""Words that became several tokens by textual inversion (Gal et al. 2022). Needs no PyTorch."""

from collections.abc import Mapping


def following_tokens(added: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
    """The tokens that follow the first one of a word with several, by the first one's id.

    Args:
        added: ids of a tokenizer's added words: `word`, `word_1`, `word_2`, ….
    """
    following = {}
    for word, first in added.items():
        number, rest = 1, []
        while (token := added.get(f"{word}_{number}")) is not None:
            rest.append(token)
            number += 1
        if rest:
            following[first] = tuple(rest)
    return following
