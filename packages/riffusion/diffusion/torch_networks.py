"""A checkpoint's networks in PyTorch; an autoencoder that overflows is run in single precision."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.func import functional_call
from transformers import CLIPTextModel

from riffusion.checkpoint import autoencoders
from riffusion.diffusion.arrays import Array
from riffusion.diffusion.loras import LoraStack
from riffusion.diffusion.networks import TokenIds
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.diffusion.samplers import Sampler
from riffusion.diffusion.torch_random import TorchNumbers
from riffusion.errors import GenerationError
from riffusion.runtime.cache import network_key
from riffusion.runtime.devices import copied_to


class TorchTextEncoder:
    """A text encoder, whose layers LoRAs may change.

    Args:
        network: CLIP's.
    """

    def __init__(self, network: CLIPTextModel) -> None:
        self._network = network

    @property
    def key(self) -> Hashable:
        """Changes when the weights do."""
        return network_key(self._network)

    def encode(self, chunks: TokenIds, loras: LoraStack) -> torch.Tensor:
        """Token ids (chunks, tokens) → (chunks, tokens, width)."""
        ids = torch.from_numpy(chunks).to(self._network.device)
        changed = loras.weights("text_encoder", self._network)
        if changed:
            output = functional_call(self._network, changed, (ids,), tie_weights=False)
        else:
            output = self._network(ids)
        embedding: torch.Tensor = output[0]
        return embedding


class TorchAutoencoder:
    """A VAE. In half precision its results can overflow; those are computed again in single.

    Args:
        vae: defines scaling factor, channels, device and precision.
    """

    def __init__(self, vae: autoencoders.Autoencoder) -> None:
        self._vae = vae

    @property
    def key(self) -> Hashable:
        """Changes when the weights do."""
        return network_key(self._vae)

    @property
    def _scaling_factor(self) -> float:
        return float(self._vae.config.scaling_factor)

    def posterior(self, pixels: Array) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of latents, (1, channels, height, width) float32 each.

        Args:
            pixels: (1, 3, height, width) in [-1, 1], a tensor or an array.

        Raises:
            GenerationError: they aren't finite, in single precision either.
        """
        placed = _tensor(pixels).to(self._vae.device)
        mean, deviation = self._posterior(placed)
        return mean * self._scaling_factor, deviation * self._scaling_factor

    def _posterior(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = autoencoders.posterior(self._vae, pixels.to(self._vae.dtype))
        if self._vae.dtype == torch.float16 and not all(map(_is_finite, found)):
            with self._single_precision():
                found = autoencoders.posterior(self._vae, pixels)
            if not all(map(_is_finite, found)):
                raise GenerationError("the VAE's latents of the init image are not finite")
        return found

    def decode(self, latents: Array) -> torch.Tensor:
        """Latents, (batch, channels, height, width), → pixels in the VAE's precision.

        Args:
            latents: a tensor or an array.
        """
        placed = _tensor(latents).to(self._vae.device)
        unscaled = placed / self._vae.config.scaling_factor
        precision = self._vae.dtype
        pixels: torch.Tensor = self._vae.decode(unscaled.to(precision), return_dict=False)[0]
        if precision != torch.float16:
            return pixels
        overflowed = ~torch.isfinite(pixels).flatten(1).all(dim=1)
        if bool(overflowed.any()):
            with self._single_precision():
                again = self._vae.decode(unscaled[overflowed].float(), return_dict=False)[0]
            pixels[overflowed] = again.to(precision)
        return pixels

    @contextmanager
    def _single_precision(self) -> Iterator[None]:
        """Compute in single precision within the block."""
        precision = self._vae.dtype
        try:
            self._vae.to(torch.float32)
            yield
        finally:
            self._vae.to(precision)


class TorchLibrary:
    """PyTorch's arrays on one device.

    Args:
        device: where the networks are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def numbers(self, seed: int) -> TorchNumbers:
        """See `networks.ArrayLibrary`."""
        return TorchNumbers(seed)

    def placed(self, array: Array) -> torch.Tensor:
        """See `networks.ArrayLibrary`."""
        return copied_to(self._device, _tensor(array))

    def noise_of_steps(self, scheduler: Any, numbers: NormalNumbers) -> Any:
        """See `networks.ArrayLibrary`; diffusers' schedulers draw with PyTorch's generator."""
        if isinstance(scheduler, Sampler) or not isinstance(numbers, TorchNumbers):
            return numbers
        return numbers.generator


def _tensor(array: Array) -> torch.Tensor:
    if isinstance(array, np.ndarray):  # which may be a view that can't be written to
        return torch.from_numpy(np.require(array, requirements="W"))
    tensor: torch.Tensor = array
    return tensor


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
