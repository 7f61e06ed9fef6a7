"""What a diffusion model draws: pixels, or latents of a finished VAE."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image

from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import Example, ImageExamples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_multiple, image_size
from riffusion.datasets.latents import LatentExamples
from riffusion.errors import InputError
from riffusion.training.config import AudioConditionalConfig, UnconditionalConfig
from riffusion.training.losses.diffusion import PIXEL_SCHEDULE, DiffusionLoss
from riffusion.training.networks.build import load_network


class ImageSpace:
    """The space of pixels, or that of a VAE's latents.

    Args:
        folder: the data set.
        config: its `vae`, `channels` and `data`.

    Attributes:
        vae: None for pixels.
        channels: of what is drawn.
        size: (height, width) of what is drawn.

    Raises:
        InputError: there is no such VAE, it can't take images of this size, or stereo images
            would be drawn in one plane.
    """

    def __init__(
        self, folder: DatasetFolder, config: UnconditionalConfig | AudioConditionalConfig
    ) -> None:
        self.folder, self.data, self.seed = folder, config.data, config.run.seed
        self.vae: AutoencoderKL | None = None
        self.channels: int = config.channels or 1
        self.factor = 1
        self._pixels = image_size(folder, config.data)
        if config.vae is not None:
            self.vae = load_network(AutoencoderKL, config.vae, "vae").requires_grad_(False).eval()
            self.channels = self.vae.config.latent_channels
            self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
            check_multiple(self._pixels, self.factor, config.data, "the VAE")
        elif folder.params.stereo and self.channels == 1:
            raise InputError(
                "channels=1 has no room for stereo images, whose first plane is blank; set "
                "channels=3"
            )
        self.size = (self._pixels[0] // self.factor, self._pixels[1] // self.factor)

    @property
    def description(self) -> str:
        """What is drawn, in words."""
        height, width = self.size
        what = "pixels" if self.vae is None else f"latents of factor {self.factor}"
        return f"{what}, {self.channels} x {height} x {width}"

    def check_levels(self, num_levels: int) -> None:
        """Check that a UNet of so many levels can take what is drawn.

        Raises:
            InputError: that isn't so.
        """
        multiple = self.factor * 2 ** (num_levels - 1)
        halved_by = "the UNet" if self.vae is None else "the VAE and then the UNet"
        check_multiple(self._pixels, multiple, self.data, halved_by)

    def loss(self, config: UnconditionalConfig | AudioConditionalConfig) -> DiffusionLoss:
        """The diffusion loss, on a noise schedule that is usual here."""
        objective = config.objective
        if self.vae is None:
            schedule = PIXEL_SCHEDULE | objective.noise_schedule
            objective = objective.model_copy(update={"noise_schedule": schedule})
        return DiffusionLoss(objective)

    def examples(self, split: Split, cache: Path) -> ImageExamples | CircularlyShiftedLatents:
        """Examples of a split, with `pixels` or `latents`."""
        if self.vae is None:
            return ImageExamples(self.folder, split, self.data, self.seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        latents = LatentExamples(self.folder, split, self.vae.to(device), self.data, cache)
        return CircularlyShiftedLatents(latents, self.data.circular_shifts, self.seed)

    def clean(self, batch: Example) -> torch.Tensor:
        """What a batch holds to be drawn, (batch, channels, height, width)."""
        return batch["pixels"][:, : self.channels] if self.vae is None else batch["latents"]


def colour(image: Image.Image) -> Image.Image:
    """The image in RGB, as sheets and spectrogram decoding want it."""
    return image.convert("RGB")
