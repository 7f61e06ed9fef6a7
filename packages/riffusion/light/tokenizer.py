"""CLIP's tokenizer without transformers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from riffusion.checkpoint.manifest import ExportedShape
from riffusion.errors import CheckpointError

_NAME = "tokenizer.json"


class Tokens(NamedTuple):
    """Tokens of a text."""

    input_ids: list[int]


class LightTokenizer:
    """The tokenizer of an exported checkpoint, as `PromptEncoder` uses one of transformers.

    Args:
        folder: has `tokenizer.json`.
        shape: says how long chunks are, and which tokens begin, end and fill them.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    def __init__(self, folder: Path, shape: ExportedShape) -> None:
        path = folder / _NAME
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise CheckpointError(
                f"{path} can't be read ({error}); export the checkpoint again with "
                "`riffusion export`"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.model_max_length = shape.tokens
        self.bos_token_id, self.eos_token_id = shape.start_token, shape.end_token
        self.pad_token_id: int | None = shape.padding_token

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, with added words."""
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids of the words that were added, by word."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: number for number, token in added.items()}

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Tokens:
        """Tokens of a text."""
        del verbose
        return Tokens(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
