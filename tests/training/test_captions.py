"""Captions and old examples are drawn as the seed says, and made ready once."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from riffusion.datasets.examples import REPLAY_STREAM, Example, Key
from riffusion.datasets.folder import DatasetRow
from riffusion.training.networks.tokenizer import train_tokenizer
from riffusion.training.recipes.captions import CaptionedExamples
from riffusion.training.replay import ReplayedExamples

CAPTIONS = (("slow piano", "a slow piano"), ("beat",), ("a violin plays", "violin", "slow piano"))
MAX_TOKENS = 6
SEED, DROPOUT = 7, 0.25


class Rows:
    """What captions use of latents."""

    rows = tuple(
        DatasetRow(f"{number}.png", captions[0], captions)
        for number, captions in enumerate(CAPTIONS)
    )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Example:
        return {"latents": torch.tensor(key)}


@pytest.fixture
def tokenizer() -> CLIPTokenizer:
    captions = [caption for row in CAPTIONS for caption in row]
    return train_tokenizer(captions, 540, MAX_TOKENS)


def test_tokens_are_those_of_the_caption_that_the_seed_draws(tokenizer: CLIPTokenizer) -> None:
    examples = CaptionedExamples(Rows(), tokenizer, DROPOUT, SEED)  # type: ignore[arg-type]
    drawn = set()
    for draw in range(60):
        row = draw % len(CAPTIONS)
        rng = np.random.default_rng((SEED, draw))
        is_dropped = rng.random() < DROPOUT
        caption = "" if is_dropped else CAPTIONS[row][rng.integers(len(CAPTIONS[row]))]
        drawn.add(caption)
        expected = tokenizer(
            caption, padding="max_length", truncation=True, max_length=MAX_TOKENS
        ).input_ids
        example = examples[row, draw]
        assert example.keys() == {"latents", "input_ids"}
        assert example["input_ids"].tolist() == expected
    assert drawn == {"", *(caption for row in CAPTIONS for caption in row)}


def test_captions_are_tokenized_once(tokenizer: CLIPTokenizer) -> None:
    seen: list[str] = []

    class Counted:
        model_max_length = MAX_TOKENS

        def __call__(self, captions: list[str], **options: Any) -> Any:
            seen.extend(captions)
            return tokenizer(captions, **options)

    examples = CaptionedExamples(Rows(), Counted(), DROPOUT, SEED)  # type: ignore[arg-type]
    for draw in range(60):
        examples[draw % len(CAPTIONS), draw]
    assert sorted(seen) == sorted({"", *(caption for row in CAPTIONS for caption in row)})


class Numbers:
    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key) -> Any:
        return self.first + key[0], key[1]


@pytest.mark.parametrize("share", [0.25, 0.6])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_old_examples_are_replayed_in_the_order_of_the_seed(
    share: float, is_shuffled: bool
) -> None:
    """In whatever order the loader's processes ask for them."""
    new, old = Numbers(0, 100), Numbers(1000, 7)
    examples = ReplayedExamples(new, old, share, SEED)
    draws = np.random.default_rng(0).permutation(100) if is_shuffled else np.arange(100)
    found = {int(draw): examples[int(draw), int(draw)] for draw in draws}
    expected, num_old = {}, 0
    for draw in range(100):
        if int((draw + 1) * share) == int(draw * share):
            expected[draw] = (draw, draw)
            continue
        rng = np.random.default_rng((SEED, num_old // 7, REPLAY_STREAM))
        expected[draw] = (1000 + int(rng.permutation(7)[num_old % 7]), draw)
        num_old += 1
    assert found == expected
    assert num_old == 100 * share


def test_a_permutation_is_drawn_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    new_rng = np.random.default_rng

    def count(seed: Any) -> np.random.Generator:
        calls.append(seed)
        return new_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", count)
    examples = ReplayedExamples(Numbers(0, 40), Numbers(1000, 10), 0.5, SEED)
    for draw in range(40):
        examples[draw, draw]
    assert calls == [(SEED, epoch, REPLAY_STREAM) for epoch in (0, 1)]
