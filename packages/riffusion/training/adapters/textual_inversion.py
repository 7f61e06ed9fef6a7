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
        num_known = self.known.num_embeddings
        known = self.known(ids.clamp(max=num_known - 1))
        new = nn.functional.embedding((ids - num_known).clamp(min=0), self.new).to(known.dtype)
        return torch.where((ids >= num_known)[..., None], new, known)


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


def first_rows(text_encoder: CLIPTextModel, ids: Mapping[str, list[int]]) -> torch.Tensor:
    """What new rows begin as: the mean of those of each word's phrase, (words, width)."""
    known = text_encoder.get_input_embeddings().weight.detach().float()
    return torch.stack([known[tokens].mean(dim=0) for tokens in ids.values()])


def extend_embedding(text_encoder: CLIPTextModel, first_id: int, new: torch.Tensor) -> None:
    """Give new tokens their rows, in an embedding like the one before.

    Args:
        text_encoder: changed in place.
        first_id: token of the first new row. Rows from there on, which some checkpoints have
            without using them, are replaced.
        new: (words, width).
    """
    known = text_encoder.get_input_embeddings().weight
    rows = torch.cat([known.detach()[:first_id], new.to(known)])
    embedding = nn.Embedding(len(rows), rows.shape[1], _weight=rows)
    text_encoder.set_input_embeddings(embedding.requires_grad_(known.requires_grad))
    text_encoder.config.vocab_size = len(rows)


def learn_new_rows_alone(text_encoder: CLIPTextModel, num_words: int) -> ExtendedEmbedding:
    """Freeze an embedding but for its last rows.

    Args:
        text_encoder: changed in place.
        num_words: how many rows are learned.
    """
    rows = text_encoder.get_input_embeddings().weight.detach()
    kept = rows[:-num_words].clone()
    known = nn.Embedding(len(kept), kept.shape[1], _weight=kept)
    extended = ExtendedEmbedding(known, rows[-num_words:])
    text_encoder.set_input_embeddings(extended)
    return extended


def write_words(words: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write each word as a file that diffusers' `load_textual_inversion` reads.

    Args:
        words: with their embeddings, (width,).
        folder: made if it isn't there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for word, row in words.items():
        save_file({word: row.detach().half().cpu().clone()}, folder / word_file_name(word))


def word_file_name(word: str) -> str:
    """Name of a word's file."""
    return "".join(letter if letter.isalnum() else "_" for letter in word) + ".safetensors"
