"""Textual inversion (Gal et al. 2022): new words become tokens with learned embeddings.

Byte-pair encoding can spell any word, but from pieces that other words use, too: training the
pieces of `sitar` would also change the meaning of words that contain `ar`. A new token has its own
embedding, and nothing else changes.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint.embeddings import add_tokens
from riffusion.errors import InputError


class ExtendedEmbedding(nn.Module):
    """An embedding of which only the last rows are trained.

    Args:
        known: the frozen rows, (tokens, width).
        new: initial values of the trained rows, (words, width).
    """

    def __init__(self, known: nn.Embedding, new: torch.Tensor) -> None:
        super().__init__()
        self.known = known.requires_grad_(False)
        self.new = nn.Parameter(new.detach().float().clone())

    @property
    def weight(self) -> torch.Tensor:
        """All rows, in the precision of the frozen rows."""
        return torch.cat([self.known.weight, self.new.to(self.known.weight.dtype)])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(…,) token ids → (…, width)."""
        num_known = self.known.num_embeddings
        known = self.known(ids.clamp(max=num_known - 1))
        new = nn.functional.embedding((ids - num_known).clamp(min=0), self.new).to(known.dtype)
        return torch.where((ids >= num_known)[..., None], new, known)


def add_words(tokenizer: CLIPTokenizer, words: Mapping[str, str]) -> dict[str, list[int]]:
    """Add words to a tokenizer as tokens, matched as whole words in upper or lower case.

    Args:
        tokenizer: changed in place.
        words: the words in lower case, each with the phrase that its embedding starts from.

    Returns:
        For each word, the token ids of its phrase.

    Raises:
        InputError: a word is already a single token, or its phrase has no tokens.
    """
    ids = {
        word: tokenizer(phrase, add_special_tokens=False).input_ids
        for word, phrase in words.items()
    }
    for word, phrase in words.items():
        if len(tokenizer(word, add_special_tokens=False).input_ids) == 1:
            raise InputError(
                f"new_words: {word!r} is already a token of this checkpoint; leave it out, and use "
                "train_text_encoder to train its meaning"
            )
        if not ids[word]:
            raise InputError(f"new_words.{word}={phrase!r} has no words; name a similar sound")
    add_tokens(tokenizer, list(words))
    return ids


def initial_rows(text_encoder: CLIPTextModel, ids: Mapping[str, list[int]]) -> torch.Tensor:
    """Initial embeddings (words, width): for each word, the mean over the tokens of its phrase."""
    known = text_encoder.get_input_embeddings().weight.detach().float()
    return torch.stack([known[tokens].mean(dim=0) for tokens in ids.values()])


def train_last_rows_only(text_encoder: CLIPTextModel, num_words: int) -> ExtendedEmbedding:
    """Freeze a text encoder's embedding, except for its last rows.

    Args:
        text_encoder: changed in place.
        num_words: number of rows to train.
    """
    rows = text_encoder.get_input_embeddings().weight.detach()
    kept = rows[:-num_words].clone()
    known = nn.Embedding(len(kept), kept.shape[1], _weight=kept)
    extended = ExtendedEmbedding(known, rows[-num_words:])
    text_encoder.set_input_embeddings(extended)
    return extended


def write_words(words: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write each word as a file for diffusers' `load_textual_inversion`.

    Args:
        words: the words with their embeddings, (width,).
        folder: created if it doesn't exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for word, row in words.items():
        save_file({word: row.detach().half().cpu().clone()}, folder / word_file_name(word))


def word_file_name(word: str) -> str:
    """File name for a word, with `_` for characters that aren't letters or digits."""
    return "".join(letter if letter.isalnum() else "_" for letter in word) + ".safetensors"
