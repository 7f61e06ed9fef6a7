"""A small encoder that learns, together with a diffusion model, what is worth knowing of a clip.

The clip is drawn again from noise and its encoding, so the encoding comes to hold what noise can't
tell (Preechakul et al. 2022, "Diffusion autoencoders"). Time is averaged out on the way: encodings
say how a clip sounds, not when.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import nn

HEARD_HEIGHT, HEARD_WIDTH = 64, 64
"""Rows and columns of the small image that is heard: of 512 x 512, 8 x 8 pixels become one."""


class AudioEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc] # diffusers is untyped
    """Small images → encodings.

    Args:
        tokens: vectors of an encoding, which the UNet attends to.
        width: of each.
        channels: of the convolutions, each of which halves the image.
        groups: of their normalisation.
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
        height = -(-HEARD_HEIGHT // 2 ** len(channels))
        self.to_tokens = nn.Linear(before * height, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, heard: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 64, 64) in [-1, 1] → (batch, tokens, width) of unit variance."""
        features = self.layers(heard).mean(dim=-1).flatten(1)
        encodings: torch.Tensor = self.norm(
            self.to_tokens(features).unflatten(1, (-1, self.config.width))
        )
        return encodings


def encoder_image(image: Image.Image) -> torch.Tensor:
    """The small image of an image of any size, (1, 64, 64) in [-1, 1]; stereo's mean is heard.

    Each pixel is the mean of those that it stands for.
    """
    grey = image if image.mode == "L" else image.convert("RGB").convert("L")
    small = grey.resize((HEARD_WIDTH, HEARD_HEIGHT), Image.Resampling.BOX)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
    return (pixels.float() / 127.5 - 1).view(1, HEARD_HEIGHT, HEARD_WIDTH)
