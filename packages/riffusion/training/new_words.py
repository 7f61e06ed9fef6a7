"""Words that a checkpoint's tokenizer doesn't know, as tokens of their own.

Byte-pair encoding can spell any word, from pieces that it shares with other words: to learn what
`sitar` means from its pieces is to change what words that hold `ar` mean. A token of its own has an
embedding of its own (Gal et al. 2022, "textual inversion"), and nothing else moves.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.errors import InputError


class ExtendedEmbedding(nn.Module):
    """An embedding whose last rows alone are learned.

    Args:
        known: the frozen rows, (tokens, width).
        new: what the new rows begin as, (words, width).
    """

    def __init__(self, known: nn.Embedding, new: torch.Tensor) -> None:
        super().__init__()
        self.known = known.requires_grad_(False)
        self.new = nn.Parameter(new.detach().float().clone())

    @property
    def weight(self) -> torch.Tensor:
        """All rows, in the precision of the frozen ones."""
        return torch.cat([self.known.weight, self.new.to(self.known.weight.dtype)])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(…,) token ids → (…, width)."""
        return nn.functional.embedding(ids, self.weight)


def add_words(tokenizer: CLIPTokenizer, words: Mapping[str, str]) -> dict[str, list[int]]:
    """Make words tokens, whole words only and in any case.

    Args:
        tokenizer: changed in place.
        words: in lower case, each with a phrase.

    Returns:
        For each word, the tokens that its phrase had before.

    Raises:
        InputError: a word is one token already, or contains another one, or its phrase is empty.
    """
    ids = {
        word: tokenizer(phrase, add_special_tokens=False).input_ids
        for word, phrase in words.items()
    }
    for word, phrase in words.items():
        if len(tokenizer(word, add_special_tokens=False).input_ids) == 1:
            raise InputError(
                f"new_words: {word!r} is a token of this checkpoint already; leave it out, its "
                "meaning is learned with train_text_encoder"
            )
        if not ids[word]:
            raise InputError(f"new_words.{word}={phrase!r} has no words; name what it resembles")
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in words])
    return ids


def first_rows(embedding: nn.Embedding, ids: Mapping[str, list[int]]) -> torch.Tensor:
    """What new rows begin as: the mean of those of each word's phrase, (words, width)."""
    return torch.stack([embedding.weight[tokens].mean(dim=0) for tokens in ids.values()]).detach()


def extend_embedding(text_encoder: CLIPTextModel, new: torch.Tensor) -> None:
    """Put rows, (words, width), at the end of a text encoder's embedding."""
    known = text_encoder.embeddings.token_embedding.weight.detach()
    rows = torch.cat([known, new.to(known)])
    text_encoder.embeddings.token_embedding = nn.Embedding.from_pretrained(
        rows, freeze=not text_encoder.embeddings.token_embedding.weight.requires_grad
    )
    text_encoder.config.vocab_size = len(rows)


def write_words(words: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write each word as a file that diffusers' `load_textual_inversion` reads.

    Args:
        words: with their embeddings, (width,).
        folder: made if it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for word, row in words.items():
        name = "".join(letter if letter.isalnum() else "_" for letter in word)
        save_file({word: row.detach().half().cpu().clone()}, folder / f"{name}.safetensors")
