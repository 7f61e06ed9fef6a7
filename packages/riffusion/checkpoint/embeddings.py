"""Textual inversion (Gal et al. 2022): new words of a checkpoint, each with learned embeddings.

diffusers   one tensor named as the word (`learned_embeds.bin`, or safetensors)
A1111       `string_to_param` with `name`, or `emb_params`; then the word is the file's name

A word with several vectors becomes as many tokens: `word`, `word_1`, `word_2`, …, as in diffusers.
In a prompt, the word alone stands for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint.files import abridged, read_pickle, read_weights
from riffusion.errors import CheckpointError, InputError

_TRAIN_FOLDER_NAMES = ("learned_embeds.safetensors", "learned_embeds.bin")
_FIELD = "embedding"
_OF_A_NETWORK = re.compile(r"\.(weight|bias|alpha)$")


@dataclass(frozen=True)
class NewWord:
    """A word with its embeddings.

    Args:
        word: the word, as in prompts.
        vectors: (tokens, width).
        path: the file that it was read from.
    """

    word: str
    vectors: torch.Tensor
    path: Path


def read_embedding(path: Path) -> NewWord:
    """Read a textual inversion; pickles with `weights_only=True`.

    Args:
        path: a file, or a folder with `learned_embeds.safetensors` or `learned_embeds.bin`.

    Raises:
        InputError: no such file, or it is damaged, or no textual inversion.
    """
    names = [path, *(path / name for name in _TRAIN_FOLDER_NAMES)]
    file = next((name for name in names if name.is_file()), None)
    if file is None:
        raise InputError(f"{str(path)!r} is no file; name a textual inversion's file", _FIELD)
    try:
        is_pickle = file.suffix != ".safetensors"
        content: Mapping[str, Any] = read_pickle(file) if is_pickle else read_weights([file])
    except CheckpointError as error:
        raise InputError(str(error), _FIELD) from error
    word, vectors = _word_and_vectors(content, file)
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or len(vectors) == 0 or not vectors.is_floating_point():
        raise InputError(
            f"{file}: the embedding is {vectors.dtype} of shape {tuple(vectors.shape)}, it must be "
            "floating point of shape (tokens, width); use another file",
            _FIELD,
        )
    if not bool(vectors.isfinite().all()):
        raise InputError(f"{file} has values that are not finite; download it again", _FIELD)
    return NewWord(word, vectors, file)


def _word_and_vectors(content: Mapping[str, Any], file: Path) -> tuple[str, torch.Tensor]:
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if isinstance(params := content.get("string_to_param"), Mapping):
        vectors = next(iter(params.values()), None)
        if isinstance(vectors, torch.Tensor):
            return str(content.get("name") or file.stem), vectors
    if "emb_params" in tensors:
        return file.stem, tensors["emb_params"]
    if len(tensors) == len(content) == 1 and not any(map(_OF_A_NETWORK.search, tensors)):
        return next(iter(tensors.items()))
    if "clip_g" in tensors:
        raise InputError(
            f"{file} is a textual inversion for Stable Diffusion XL; use one for 1.x", _FIELD
        )
    raise InputError(
        f"{file} is no textual inversion, it holds {abridged(map(str, content)) or 'nothing'}; "
        "name a file with the embedding of one word",
        _FIELD,
    )


def add_embedding(new: NewWord, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
    """Add a word to a checkpoint.

    Args:
        new: the word.
        tokenizer, text_encoder: changed in place.

    Raises:
        InputError: the embedding has another width than the checkpoint's, or the word is known.
    """
    width = text_encoder.get_input_embeddings().weight.shape[1]
    if new.vectors.shape[1] != width:
        raise InputError(
            f"{new.path} has a width of {new.vectors.shape[1]}, the checkpoint's text encoder has "
            f"{width}; use one that was trained on this checkpoint",
            _FIELD,
        )
    words = [new.word, *(f"{new.word}_{number}" for number in range(1, len(new.vectors)))]
    check_new_words(tokenizer, words, new.path)
    first_id = len(tokenizer)
    add_tokens(tokenizer, words)
    extend_embedding(text_encoder, first_id, new.vectors)


def check_new_words(tokenizer: CLIPTokenizer, words: list[str], path: Path) -> None:
    """Check that words can become tokens.

    Raises:
        InputError: one is empty, has spaces, or is a token already.
    """
    for word in words:
        if not word or any(letter.isspace() for letter in word):
            raise InputError(f"{path}: {word!r} must be one word; rename it", _FIELD)
        if len(tokenizer(word, add_special_tokens=False).input_ids) == 1:
            raise InputError(
                f"{path}: {word!r} is already a word of this checkpoint; give it another name",
                _FIELD,
            )


def add_tokens(tokenizer: CLIPTokenizer, words: list[str]) -> None:
    """Add words as tokens, matched as whole words in upper or lower case."""
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in words])


def extend_embedding(text_encoder: CLIPTextModel, first_id: int, new: torch.Tensor) -> None:
    """Append rows for new tokens to a text encoder's embedding.

    Args:
        text_encoder: changed in place.
        first_id: id of the first new token. Existing rows from there on, which are unused in some
            checkpoints, are replaced.
        new: the new rows, (words, width).
    """
    known = text_encoder.get_input_embeddings().weight
    rows = torch.cat([known.detach()[:first_id], new.to(known)])
    embedding = nn.Embedding(len(rows), rows.shape[1], _weight=rows)
    text_encoder.set_input_embeddings(embedding.requires_grad_(known.requires_grad))
    text_encoder.config.vocab_size = len(rows)
