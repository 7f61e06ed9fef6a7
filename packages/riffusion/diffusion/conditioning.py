"""Prompts → embeddings, which condition the UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from riffusion.checkpoint.words import following_tokens
from riffusion.diffusion.arrays import Array, array_namespace, copied_like, device
from riffusion.diffusion.loras import NO_LORAS, LoraStack
from riffusion.diffusion.networks import TextEncoder
from riffusion.diffusion.prompt_weights import WeightedText, parse_prompt_weights
from riffusion.runtime.cache import TensorCache

_MEAN_IS_ZERO = 1e-6
"""Mean of an embedding, relative to its mean magnitude, below which it is a rounding error."""


class Tokenizer(Protocol):
    """What the pipeline needs of a tokenizer of transformers."""

    model_max_length: int
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int | None

    @property
    def added_tokens_encoder(self) -> Mapping[str, int]:
        """Ids of words that were added, by word."""
        ...

    def __call__(self, text: str, *, add_special_tokens: bool, verbose: bool) -> Any:
        """Tokens of a text; their ids are its `input_ids`."""
        ...


class PromptEncoder:
    """Embeds weighted prompts of any length.

    CLIP reads a fixed number of tokens (77 in Stable Diffusion: start, 75 of text, end). A longer
    prompt is split into chunks of 75, each with its own start and end token, and the UNet attends
    to the concatenation of all chunks.
    """

    def __init__(self, tokenizer: Tokenizer, text_encoder: TextEncoder, cache: TensorCache) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._cache = cache
        self._chunk_tokens = int(tokenizer.model_max_length) - 2

    def embed(
        self, prompts: Sequence[str], weighted: bool = True, loras: LoraStack = NO_LORAS
    ) -> list[Array]:
        """Embed several prompts to one length, so that they can be interpolated or batched.

        Args:
            prompts: any text; equal prompts are embedded once.
            weighted: whether brackets are weights; otherwise they are text.
            loras: what changes the text encoder.

        Returns:
            One (1, chunks · chunk length, width) tensor per prompt, all with the number of chunks
            that the longest prompt needs.

        Raises:
            InputError: a weight is out of range.
        """
        tokenized = {prompt: self._tokenize(prompt, weighted) for prompt in prompts}
        longest = max(len(tokens) for tokens, _ in tokenized.values())
        num_chunks = max(1, -(-longest // self._chunk_tokens))
        return [self._embedding(*tokenized[prompt], num_chunks, loras) for prompt in prompts]

    def _embedding(
        self, tokens: list[int], weights: list[float], num_chunks: int, loras: LoraStack
    ) -> Array:
        encoder = self._text_encoder.key, loras.of_part("text_encoder")
        key = (tuple(tokens), tuple(weights), num_chunks, encoder)
        (embedding,) = self._cache.get(
            key, lambda: (self._embed_tokens(tokens, weights, num_chunks, loras),)
        )
        return embedding

    def _tokenize(self, prompt: str, weighted: bool) -> tuple[list[int], list[float]]:
        stretches = parse_prompt_weights(prompt) if weighted else (WeightedText(prompt, 1.0),)
        following = following_tokens(self._tokenizer.added_tokens_encoder)
        tokens: list[int] = []
        weights: list[float] = []
        for text, weight in stretches:
            words = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            piece = [token for word in words for token in (word, *following.get(word, ()))]
            tokens += piece
            weights += [weight] * len(piece)
        return tokens, weights

    def _embed_tokens(
        self, tokens: list[int], weights: list[float], num_chunks: int, loras: LoraStack
    ) -> Array:
        tokenizer, size = self._tokenizer, self._chunk_tokens
        missing = num_chunks * size - len(tokens)
        padding = (
            tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        )
        # The end token, which CLIP's pooling needs, follows the text; then the padding.
        ends = [tokenizer.eos_token_id, *[padding] * (missing - 1)] if missing else []
        chunks = np.full((num_chunks, size + 2), tokenizer.bos_token_id, np.int64)
        chunks[:, 1:-1] = np.reshape(tokens + ends, (num_chunks, size))
        chunks[:, -1] = tokenizer.eos_token_id
        embedding = self._text_encoder.encode(chunks, loras)
        if any(weight != 1.0 for weight in weights):
            factors = np.ones((num_chunks, size + 2), np.float32)
            factors[:, 1:-1] = np.reshape(weights + [1.0] * missing, (num_chunks, size))
            embedding = _weigh(embedding, copied_like(factors, embedding))
        return array_namespace(embedding).reshape(embedding, (1, -1, embedding.shape[-1]))


def stack_embeddings(
    embeddings: Sequence[Array],
) -> tuple[Array, Array | None]:
    """Stack embeddings of different lengths into one batch.

    Args:
        embeddings: (rows, tokens, width) each.

    Returns:
        All rows, (rows, maximum tokens, width), padded with zeros, and the attention mask,
        (rows, maximum tokens), 1 where a token counts; None if all lengths are equal.
    """
    xp = array_namespace(*embeddings)
    longest = max(embedding.shape[1] for embedding in embeddings)
    if all(embedding.shape[1] == longest for embedding in embeddings):
        return xp.concat(list(embeddings)), None
    padded = [_zeros_appended(e, longest - e.shape[1]) for e in embeddings]
    masks = [_zeros_appended(xp.ones_like(e[..., 0]), longest - e.shape[1]) for e in embeddings]
    return xp.concat(padded), xp.concat(masks)


def _zeros_appended(array: Array, count: int) -> Array:
    """(rows, tokens, …) → (rows, tokens + count, …)."""
    xp = array_namespace(array)
    shape = (array.shape[0], count, *array.shape[2:])
    return xp.concat([array, xp.zeros(shape, dtype=array.dtype, device=device(array))], axis=1)


def _weigh(embedding: Array, factors: Array) -> Array:
    """Scale tokens by their weights, then the whole embedding to its original mean.

    Keeping the mean is the convention of the web interfaces that this syntax comes from. If the
    weighted mean is zero, no scaling can restore it; then the weighted tokens are used as they are.
    """
    xp = array_namespace(embedding)
    weighted = embedding * xp.astype(factors, embedding.dtype)[..., None]
    single = xp.astype(weighted, xp.float32)
    before, after = xp.mean(xp.astype(embedding, xp.float32)), xp.mean(single)
    if float(xp.abs(after)) <= _MEAN_IS_ZERO * float(xp.mean(xp.abs(single))):
        return weighted
    return weighted * xp.astype(before / after, embedding.dtype)
