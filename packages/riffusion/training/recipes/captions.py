"""Captions that are tokenized once; and embedded once, if the text encoder is frozen."""

from collections.abc import Iterable

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import DerivedExamples, Example, Key
from riffusion.datasets.folder import DatasetRow

_PER_CALL = 256


class CaptionTable:
    """Numbers for all captions of a data set; number 0 is the empty caption.

    Args:
        rows: rows of all splits.
    """

    def __init__(self, rows: Iterable[DatasetRow]) -> None:
        captions = {caption for row in rows for caption in row.all_captions}
        self.captions = ["", *sorted(captions - {""})]
        self.numbers = {caption: number for number, caption in enumerate(self.captions)}

    def input_ids(self, tokenizer: CLIPTokenizer) -> torch.Tensor:
        """The tokens of all captions, (captions, tokens).

        Args:
            tokenizer: captions are truncated to its `model_max_length`.
        """
        ids: torch.Tensor = tokenizer(
            self.captions,
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        ).input_ids
        return ids

    @torch.no_grad()
    def embedded(
        self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, dtype: torch.dtype
    ) -> torch.Tensor:
        """The embeddings of all captions, (captions, tokens, width), on the text encoder's device.

        Args:
            tokenizer: captions are truncated to its `model_max_length`.
            text_encoder: the text encoder.
            dtype: precision of the result.
        """
        return torch.cat(
            [
                text_encoder(ids.to(text_encoder.device))[0].to(dtype)
                for ids in torch.split(self.input_ids(tokenizer), _PER_CALL)
            ]
        )


class NumberedCaptions(DerivedExamples):
    """Latents with the number of one of their captions, or of the empty caption.

    Args:
        examples: the latents; `caption` is added to them.
        table: the numbers.
        dropout: share of examples with the empty caption.
        seed: together with the number of the draw, it determines caption and dropout.
    """

    def __init__(
        self, examples: CircularlyShiftedLatents, table: CaptionTable, dropout: float, seed: int
    ) -> None:
        self.examples, self.dropout, self.seed = examples, dropout, seed
        self.numbers = [
            [table.numbers[caption] for caption in row.all_captions] for row in examples.rows
        ]

    def __getitem__(self, key: Key) -> Example:
        example = self.examples[key]
        example["caption"] = torch.tensor(self.number(key))
        return example

    def number(self, key: Key) -> int:
        """The number of the caption that is drawn for a key."""
        row, draw = key
        rng = np.random.default_rng((self.seed, draw))
        numbers = self.numbers[row]
        return 0 if rng.random() < self.dropout else numbers[rng.integers(len(numbers))]


class CaptionedExamples(NumberedCaptions):
    """Latents with the tokens of one of their captions, or of the empty caption.

    Tokenizing a caption takes longer than all else about an example, so it is done once.

    Args:
        examples: the latents; `input_ids` are added to them.
        tokenizer: captions are truncated to its `model_max_length`.
        dropout: share of examples with the empty caption, for classifier-free guidance.
        seed: together with the number of the draw, it determines caption and dropout.
    """

    def __init__(
        self,
        examples: CircularlyShiftedLatents,
        tokenizer: CLIPTokenizer,
        dropout: float,
        seed: int,
    ) -> None:
        table = CaptionTable(examples.rows)
        super().__init__(examples, table, dropout, seed)
        self.input_ids = table.input_ids(tokenizer)

    def __getitem__(self, key: Key) -> Example:
        example = self.examples[key]
        example["input_ids"] = self.input_ids[self.number(key)]
        return example
