"""The space in which a diffusion model works: pixels, or latents of a finished VAE."""

from pathlib import Path

import torch

from riffusion.checkpoint.autoencoders import Autoencoder, downsampling_factor
from riffusion.datasets.circular_shifts import CircularlyShiftedLatents, encoded_examples
from riffusion.datasets.examples import Example, ImageExamples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import (
    check_fits_vae,
    check_multiple,
    image_size,
)
from riffusion.errors import InputError
from riffusion.training.config import AudioConditionalConfig, UnconditionalConfig
from riffusion.training.losses.diffusion import PIXEL_SCHEDULE, DiffusionLoss
from riffusion.training.networks.build import load_autoencoder


class ImageSpace:
    """Pixels, or the latents of a VAE.

    Args:
        folder: the data set.
        config: its keys `vae`, `channels` and `data` are used.

    Attributes:
        vae: the VAE; None for pixels.
        channels: number of channels of pixels or latents.
        size: (height, width) of pixels or latents.

    Raises:
        InputError: the VAE doesn't exist, the image size doesn't fit it, or the images are stereo
            and there is only one channel.
    """

    def __init__(
        self, folder: DatasetFolder, config: UnconditionalConfig | AudioConditionalConfig
    ) -> None:
        self.folder, self.data, self.seed = folder, config.data, config.run.seed
        self.vae: Autoencoder | None = None
        self.channels: int = config.channels or 1
        self.factor = 1
        self._image_size = image_size(folder, config.data)
        if config.vae is not None:
            self.vae = load_autoencoder(config.vae).requires_grad_(False).eval()
            self.channels = self.vae.config.latent_channels
            self.factor = downsampling_factor(self.vae)
            check_fits_vae(folder, config.data, self.vae)
        elif folder.params.stereo and self.channels == 1:
            raise InputError(
                "channels=1 is not enough for stereo images, whose first channel is blank; set "
                "channels=3"
            )
        height, width = self._image_size
        self.size = (height // self.factor, width // self.factor)

    @property
    def description(self) -> str:
        """Kind, factor and shape of pixels or latents, as text."""
        height, width = self.size
        what = "pixels" if self.vae is None else f"latents of factor {self.factor}"
        return f"{what}, {self.channels} x {height} x {width}"

    def check_levels(self, num_levels: int) -> None:
        """Check that a UNet with `num_levels` levels fits the image size.

        Raises:
            InputError: height or width is not a multiple of the total downsampling factor.
        """
        multiple = self.factor * 2 ** (num_levels - 1)
        networks = "the UNet" if self.vae is None else "the VAE and then the UNet"
        check_multiple(self._image_size, multiple, self.data, networks)

    def loss(self, config: UnconditionalConfig | AudioConditionalConfig) -> DiffusionLoss:
        """The diffusion loss, with the usual noise schedule for pixels or latents as default."""
        objective = config.objective
        if self.vae is None:
            schedule = PIXEL_SCHEDULE | objective.noise_schedule
            objective = objective.model_copy(update={"noise_schedule": schedule})
        return DiffusionLoss(objective)

    def examples(self, split: Split, cache: Path) -> ImageExamples | CircularlyShiftedLatents:
        """Examples of a split, with `pixels` or `latents`."""
        if self.vae is None:
            return ImageExamples(self.folder, split, self.data, self.seed)
        return encoded_examples(self.folder, split, self.vae, self.data, cache, self.seed)

    def clean(self, batch: Example) -> torch.Tensor:
        """The batch's pixels or latents without noise, (batch, channels, height, width)."""
        return batch["pixels"][:, : self.channels] if self.vae is None else batch["latents"]
