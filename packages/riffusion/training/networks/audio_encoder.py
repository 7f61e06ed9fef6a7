"""A small audio encoder that is trained together with a diffusion model.

The diffusion model reconstructs the clip from noise and its encoding, so the encoding learns what
noise can't provide (Preechakul et al. 2022, "Diffusion autoencoders"). The encoder averages over
time: encodings describe timbre and style, not timing.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import nn

from riffusion.spectrogram.image import rgb_image

INPUT_HEIGHT, INPUT_WIDTH = 64, 64
"""Mel bands and frames of the encoder's input: 8 x 8 pixels of a 512 x 512 image become one."""


class AudioEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc] # diffusers is untyped
    """Small images → encodings.

    Args:
        tokens: vectors per encoding, to which the UNet attends.
        width: size of each vector.
        channels: output channels of the convolutions, each of which halves the image.
        groups: groups of their group normalisation.
    """

    @register_to_config  # type: ignore[untyped-decorator] # diffusers is untyped
    def __init__(
        self,
        tokens: int = 4,
        width: int = 64,
        channels: tuple[int, ...] = (32, 64, 128),
        groups: int = 8,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after in channels:
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1),
                nn.GroupNorm(groups, after),
                nn.SiLU(),
            ]
            before = after
        self.layers = nn.Sequential(*layers)
        height = -(-INPUT_HEIGHT // 2 ** len(channels))
        self.to_tokens = nn.Linear(before * height, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 64, 64) in [-1, 1] → encodings (batch, tokens, width) of unit variance."""
        features = self.layers(images).mean(dim=-1).flatten(1)
        encodings: torch.Tensor = self.norm(
            self.to_tokens(features).unflatten(1, (-1, self.config.width))
        )
        return encodings


def encoder_input(image: Image.Image) -> torch.Tensor:
    """Image of any size → the encoder's input, (1, 64, 64) in [-1, 1]; channels are averaged.

    Each pixel is the mean of the pixels that it covers.
    """
    grey = image if image.mode == "L" else rgb_image(image).convert("L")
    small = grey.resize((INPUT_WIDTH, INPUT_HEIGHT), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return (pixels.float() / 127.5 - 1).view(1, INPUT_HEIGHT, INPUT_WIDTH)
