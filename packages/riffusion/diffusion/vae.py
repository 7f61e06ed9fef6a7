"""Images ⇄ latents, with a cache."""

from __future__ import annotations

from PIL import Image

from riffusion.diffusion.arrays import Array, copied_like
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.networks import Autoencoder
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.runtime.cache import TensorCache, image_key


class LatentCodec:
    """Encodes and decodes with a VAE. Lossy: an image loses detail when encoded.

    Args:
        autoencoder: the VAE.
        cache: posteriors by image, so that an image is encoded once.
    """

    def __init__(self, autoencoder: Autoencoder, cache: TensorCache) -> None:
        self._autoencoder = autoencoder
        self._cache = cache

    def encode(self, image: Image.Image, geometry: LatentGeometry, numbers: NormalNumbers) -> Array:
        """Sample an image's latents from the VAE's posterior.

        Args:
            image: image of the size that `geometry` describes.
            numbers: the sample's.

        Returns:
            (1, channels, height, width) float32, multiplied by the VAE's scaling factor.
        """
        key = (image_key(image), self._autoencoder.key)
        mean, deviation = self._cache.get(
            key, lambda: self._autoencoder.posterior(geometry.pixels_from_image(image))
        )
        noise = numbers.normal(tuple(mean.shape))
        return mean + deviation * copied_like(noise, mean)

    def encode_pixels(self, pixels: Array) -> Array:
        """The most likely latents of pixels that are no image yet; they aren't kept in the cache.

        Args:
            pixels: (1, 3, height, width) in [-1, 1], of a size that the VAE can divide.

        Returns:
            (1, channels, height, width) float32, multiplied by the VAE's scaling factor.

        Raises:
            GenerationError: they aren't finite, in single precision either.
        """
        return self._autoencoder.posterior(pixels)[0]

    def decode(self, latents: Array) -> Array:
        """Decode latents to pixels.

        Args:
            latents: (batch, channels, height, width), multiplied by the VAE's scaling factor.

        Returns:
            (batch, 3, padded height, padded width), approximately in [-1, 1].
        """
        return self._autoencoder.decode(latents)
