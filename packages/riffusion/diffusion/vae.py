"""Images ⇄ latents: encoding with a cache, decoding with a single-precision fallback."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.autoencoders import Autoencoder
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.errors import GenerationError
from riffusion.runtime.cache import TensorCache, image_key, network_key

_STATE_OFFSET = 24
"""Bytes before the Mersenne Twister's 624 words in the state of torch's CPU generator."""


class LatentCodec:
    """Encodes and decodes with a VAE. Lossy: an image loses detail when encoded.

    Args:
        vae: defines scaling factor, channels, device and precision.
        cache: posteriors by image, so that an image is encoded once.
    """

    def __init__(self, vae: Autoencoder, cache: TensorCache) -> None:
        self._vae = vae
        self._cache = cache

    def encode(self, image: Image.Image, geometry: LatentGeometry, seed: int) -> torch.Tensor:
        """Sample an image's latents from the VAE's posterior.

        Args:
            image: image of the size that `geometry` describes.
            seed: seed of the sample.

        Returns:
            (1, channels, height, width) float32, multiplied by the VAE's scaling factor.
        """

        def pixels() -> torch.Tensor:
            return geometry.pixels_from_image(image).to(self._vae.device)

        key = (image_key(image), network_key(self._vae))
        mean, deviation = self._cache.get(key, lambda: self._posterior(pixels()))
        noise = noise_from_seed(seed, geometry, mean.shape[1]).to(mean)
        return (mean + deviation * noise) * float(self._vae.config.scaling_factor)

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The most likely latents of pixels that are no image yet; they aren't kept in the cache.

        Args:
            pixels: (1, 3, height, width) in [-1, 1], of a size that the VAE can divide.

        Returns:
            (1, channels, height, width) float32, multiplied by the VAE's scaling factor.

        Raises:
            GenerationError: they aren't finite, in single precision either.
        """
        mean, _ = self._posterior(pixels.to(self._vae.device))
        return mean * float(self._vae.config.scaling_factor)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents to pixels.

        In half precision the decoder can overflow; those images are decoded again in single
        precision.

        Args:
            latents: (batch, channels, height, width), multiplied by the VAE's scaling factor.

        Returns:
            (batch, 3, padded height, padded width), approximately in [-1, 1].
        """
        unscaled = latents / self._vae.config.scaling_factor
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

    def _posterior(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mean and standard deviation of the latents of pixels, (1, channels, height, width) each.

        Raises:
            GenerationError: they aren't finite, in single precision either.
        """
        found = autoencoders.posterior(self._vae, pixels.to(self._vae.dtype))
        if self._vae.dtype == torch.float16 and not all(map(_is_finite, found)):
            with self._single_precision():
                found = autoencoders.posterior(self._vae, pixels)
            if not all(map(_is_finite, found)):
                raise GenerationError("the VAE's latents of the init image are not finite")
        return found

    @contextmanager
    def _single_precision(self) -> Iterator[None]:
        """Compute in single precision within the block."""
        precision = self._vae.dtype
        try:
            self._vae.to(torch.float32)
            yield
        finally:
            self._vae.to(precision)


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def noise_from_seed(seed: int, geometry: LatentGeometry, num_channels: int) -> torch.Tensor:
    """`draw_noise` with a new generator of that seed."""
    return draw_noise(generator_from_seed(seed), geometry, num_channels)


def draw_noise(
    generator: torch.Generator, geometry: LatentGeometry, num_channels: int
) -> torch.Tensor:
    """Gaussian noise in latent space, (1, channels, height, width) float32, mean 0, variance 1.

    It is drawn on the CPU, so that a seed gives the same clip on every device.
    """
    width, height = geometry.latent_size
    return torch.randn((1, num_channels, height, width), generator=generator)


def generator_from_seed(seed: int) -> torch.Generator:
    """A generator on the CPU whose numbers differ for any two seeds from 0 to 2^63 - 1.

    torch's own CPU generator uses the low 32 bits of a seed only. Seeds below 2^32 go to it as they
    are; for larger seeds, its state is the Mersenne Twister's that NumPy makes from both halves.
    """
    generator = torch.Generator("cpu").manual_seed(seed % 2**32)
    if seed >= 2**32:
        key = np.random.RandomState([seed % 2**32, seed // 2**32]).get_state(legacy=False)["state"][
            "key"
        ]
        state = generator.get_state().numpy()
        words = state[_STATE_OFFSET:].view(np.uint64)
        words[: key.size] = key
        generator.set_state(torch.from_numpy(state))
    return generator
