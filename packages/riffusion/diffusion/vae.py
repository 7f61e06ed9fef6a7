"""Images ⇄ latents: encoding with a cache, decoding with a single-precision fallback."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from riffusion.diffusion.geometry import LatentGeometry
from riffusion.runtime.cache import TensorCache, image_key

_STATE_OFFSET = 24
"""Bytes before the Mersenne Twister's 624 words in the state of torch's CPU generator."""


class LatentCodec:
    """Encodes and decodes with a VAE. Lossy: an image loses detail when encoded.

    Args:
        vae: defines scaling factor, channels, device and precision.
        cache: posteriors by image, so that an image is encoded once.
    """

    def __init__(self, vae: AutoencoderKL, cache: TensorCache) -> None:
        self._vae = vae
        self._cache = cache

    def encode(self, image: Image.Image, geometry: LatentGeometry, seed: int) -> torch.Tensor:
        """Sample an image's latents from the VAE's posterior.

        Args:
            image: image of the size that `geometry` describes.
            seed: seed of the sample.

        Returns:
            (1, channels, height, width), multiplied by the VAE's scaling factor.
        """
        key = (image_key(image), self._vae.device, self._vae.dtype)
        mean, deviation = self._cache.get(key, lambda: self._posterior(image, geometry))
        noise = noise_from_seed(seed, geometry, mean.shape[1]).to(mean)
        return (mean + deviation * noise) * float(self._vae.config.scaling_factor)

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
        pixels: torch.Tensor = self._vae.decode(unscaled, return_dict=False)[0]
        if unscaled.dtype != torch.float16:
            return pixels
        overflowed = ~torch.isfinite(pixels).flatten(1).all(dim=1)
        if bool(overflowed.any()):
            try:
                self._vae.to(torch.float32)
                again = self._vae.decode(unscaled[overflowed].float(), return_dict=False)[0]
            finally:
                self._vae.to(unscaled.dtype)
            pixels[overflowed] = again.to(unscaled.dtype)
        return pixels

    def _posterior(self, image: Image.Image, geometry: LatentGeometry) -> tuple[torch.Tensor, ...]:
        """Mean and standard deviation of an image's latents, (1, channels, height, width) each."""
        pixels = geometry.pixels_from_image(image).to(self._vae.device, self._vae.dtype)
        posterior = self._vae.encode(pixels).latent_dist
        return posterior.mean, posterior.std


def noise_from_seed(seed: int, geometry: LatentGeometry, num_channels: int) -> torch.Tensor:
    """Gaussian noise in latent space, (1, channels, height, width) float32, mean 0, variance 1.

    It is drawn on the CPU, so that a seed gives the same clip on every device.
    """
    width, height = geometry.latent_size
    return torch.randn((1, num_channels, height, width), generator=generator_from_seed(seed))


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
