"""Images and masks as arrays of pixels, and their size in latent space.

The VAE divides an image's size by its scale factor and the UNet halves the latents several times,
so sizes must be multiples of the product. Images are padded by mirroring rather than resized, since
resizing would change tempo and pitch; after decoding the padding is cropped.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from riffusion.diffusion.arrays import Array, array_namespace, as_numpy
from riffusion.spectrogram.image import FloatArray, rgb_image


@dataclass(frozen=True)
class LatentGeometry:
    """Geometry of one image.

    Args:
        width, height: size of the image in pixels.
        vae_scale_factor: pixels per latent, in each direction.
        multiple: number of pixels that padded sizes are a multiple of.
    """

    width: int
    height: int
    vae_scale_factor: int
    multiple: int

    @property
    def padded_size(self) -> tuple[int, int]:
        """(width, height) in pixels, rounded up to multiples of `multiple`."""
        return (
            -(-self.width // self.multiple) * self.multiple,
            -(-self.height // self.multiple) * self.multiple,
        )

    @property
    def latent_size(self) -> tuple[int, int]:
        """(width, height) of the latents."""
        width, height = self.padded_size
        return width // self.vae_scale_factor, height // self.vae_scale_factor

    def pixels_from_image(self, image: Image.Image) -> FloatArray:
        """Image as (1, 3, padded height, padded width) float32 in [-1, 1]."""
        rgb = np.asarray(rgb_image(image), dtype=np.float32) / np.float32(255)
        pixels: FloatArray = self._mirrored(rgb).transpose(2, 0, 1)[None] * 2 - 1
        return np.ascontiguousarray(pixels)

    def image_from_pixels(self, pixels: Array) -> Image.Image:
        """Image from (3, padded height, padded width) values in [-1, 1], cropped to its size."""
        xp = array_namespace(pixels)
        unit = xp.clip(pixels / 2 + 0.5, 0, 1)[:, : self.height, : self.width]
        array = as_numpy(xp.astype(unit, xp.float32)).transpose(1, 2, 0)
        return Image.fromarray((array * 255).round().astype(np.uint8))

    def repaint_from_mask(self, mask: Image.Image) -> FloatArray:
        """Share of repainting per pixel, (1, 1, padded height, padded width) in [0, 1].

        White is 1 (repainted), black and transparent 0 (kept). A mask of any size is resized to the
        image.
        """
        luminance = (
            rgb_image(mask, background="black").convert("L").resize((self.width, self.height))
        )
        share = np.asarray(luminance, dtype=np.float32) / np.float32(255)
        return self._mirrored(share)[None, None]

    def latents_from_repaint(self, repaint: FloatArray) -> FloatArray:
        """Mean share of repainting per latent, (1, 1, latent height, latent width)."""
        factor = self.vae_scale_factor
        height, width = (size // factor for size in repaint.shape[-2:])
        blocks = repaint.reshape(1, 1, height, factor, width, factor)
        mean: FloatArray = blocks.mean((3, 5), dtype=np.float64).astype(np.float32)
        return mean

    def _mirrored(self, array: FloatArray) -> FloatArray:
        width, height = self.padded_size
        extra = [(0, height - self.height), (0, width - self.width)]
        return np.pad(array, extra + [(0, 0)] * (array.ndim - 2), mode="symmetric")
