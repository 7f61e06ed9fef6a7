"""Captions that are embedded once, for recipes whose text encoder is frozen."""

from collections.abc import Iterable

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import Example, Key
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
        parts = []
        for first in range(0, len(self.captions), _PER_CALL):
            ids = tokenizer(
                self.captions[first : first + _PER_CALL],
                padding="max_length",
                truncation=True,
                max_length=tokenizer.model_max_length,
                return_tensors="pt",
            ).input_ids
            parts.append(text_encoder(ids.to(text_encoder.device))[0].to(dtype))
        return torch.cat(parts)


class NumberedCaptions(Dataset[Example]):
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

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key) -> Example:
        row, draw = key
        rng = np.random.default_rng((self.seed, draw))
        numbers = self.numbers[row]
        number = 0 if rng.random() < self.dropout else numbers[rng.integers(len(numbers))]
        example = self.examples[key]
        example["caption"] = torch.tensor(number)
        return example
