"""Prompts → embeddings, which condition the UNet."""

from collections.abc import Sequence

import torch
from torch.func import functional_call
from torch.nn.functional import pad
from transformers import CLIPTextModel, CLIPTokenizer

from riffusion.checkpoint.embeddings import following_tokens
from riffusion.diffusion.loras import NO_LORAS, LoraStack
from riffusion.diffusion.prompt_weights import WeightedText, parse_prompt_weights
from riffusion.runtime.cache import TensorCache, network_key

_MEAN_IS_ZERO = 1e-6
"""Mean of an embedding, relative to its mean magnitude, below which it is a rounding error."""


class PromptEncoder:
    """Embeds weighted prompts of any length.

    CLIP reads a fixed number of tokens (77 in Stable Diffusion: start, 75 of text, end). A longer
    prompt is split into chunks of 75, each with its own start and end token, and the UNet attends
    to the concatenation of all chunks.
    """

    def __init__(
        self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, cache: TensorCache
    ) -> None:
        self._tokenizer = tokenizer
        self.text_encoder = text_encoder
        self._cache = cache
        self._chunk_tokens = int(tokenizer.model_max_length) - 2

    def embed(
        self, prompts: Sequence[str], weighted: bool = True, loras: LoraStack = NO_LORAS
    ) -> list[torch.Tensor]:
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
    ) -> torch.Tensor:
        encoder = network_key(self.text_encoder), loras.of_part("text_encoder")
        key = (tuple(tokens), tuple(weights), num_chunks, encoder)
        (embedding,) = self._cache.get(
            key, lambda: (self._embed_tokens(tokens, weights, num_chunks, loras),)
        )
        return embedding

    def _tokenize(self, prompt: str, weighted: bool) -> tuple[list[int], list[float]]:
        stretches = parse_prompt_weights(prompt) if weighted else (WeightedText(prompt, 1.0),)
        following = following_tokens(self._tokenizer)
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
    ) -> torch.Tensor:
        tokenizer, size = self._tokenizer, self._chunk_tokens
        missing = num_chunks * size - len(tokens)
        padding = (
            tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        )
        # The end token, which CLIP's pooling needs, follows the text; then the padding.
        ends = [tokenizer.eos_token_id, *[padding] * (missing - 1)] if missing else []
        ids = torch.tensor(tokens + ends, dtype=torch.long).view(num_chunks, size)
        bos = torch.full((num_chunks, 1), tokenizer.bos_token_id)
        eos = torch.full((num_chunks, 1), tokenizer.eos_token_id)
        chunks = torch.cat([bos, ids, eos], dim=1).to(self.text_encoder.device)
        embedding = self._encode(chunks, loras)

        if any(weight != 1.0 for weight in weights):
            factors = torch.tensor(weights + [1.0] * missing).view(num_chunks, size)
            ones = torch.ones(num_chunks, 1)
            factors = torch.cat([ones, factors, ones], dim=1).to(embedding)
            embedding = _weigh(embedding, factors)
        return embedding.flatten(0, 1).unsqueeze(0)

    def _encode(self, chunks: torch.Tensor, loras: LoraStack) -> torch.Tensor:
        """Token ids (chunks, tokens) → (chunks, tokens, width)."""
        changed = loras.weights("text_encoder", self.text_encoder)
        if changed:
            output = functional_call(self.text_encoder, changed, (chunks,), tie_weights=False)
        else:
            output = self.text_encoder(chunks)
        embedding: torch.Tensor = output[0]
        return embedding


def stack_embeddings(
    embeddings: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stack embeddings of different lengths into one batch.

    Args:
        embeddings: (rows, tokens, width) each.

    Returns:
        All rows, (rows, maximum tokens, width), padded with zeros, and the attention mask,
        (rows, maximum tokens), 1 where a token counts; None if all lengths are equal.
    """
    longest = max(embedding.shape[1] for embedding in embeddings)
    if all(embedding.shape[1] == longest for embedding in embeddings):
        return torch.cat(list(embeddings)), None
    padded = [pad(e, (0, 0, 0, longest - e.shape[1])) for e in embeddings]
    masks = [pad(e.new_ones(e.shape[:2]), (0, longest - e.shape[1])) for e in embeddings]
    return torch.cat(padded), torch.cat(masks)


def _weigh(embedding: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Scale tokens by their weights, then the whole embedding to its original mean.

    Keeping the mean is the convention of the web interfaces that this syntax comes from. If the
    weighted mean is zero, no scaling can restore it; then the weighted tokens are used as they are.
    """
    weighted = embedding * factors.unsqueeze(-1)
    before, after = embedding.float().mean(), weighted.float().mean()
    if float(after.abs()) <= _MEAN_IS_ZERO * float(weighted.float().abs().mean()):
        return weighted
    return weighted * (before / after).to(embedding.dtype)
