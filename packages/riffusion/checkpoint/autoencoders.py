"""The autoencoders of diffusers that can be used, and what differs between them.

AutoencoderKL     a VAE: an image has a Gaussian posterior, and latents are drawn from it
AutoencoderDC     deterministic, with space-to-depth shortcuts (Chen et al. 2024)
AutoencoderTiny   deterministic and small, the shape of TAESD
VQModel           deterministic; its decoder rounds latents to those of a codebook

Everything else about them is alike: `decode`, `config.latent_channels`, `config.scaling_factor`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny, VQModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from riffusion.errors import CheckpointError

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderDC | AutoencoderTiny | VQModel

DEFAULT_CLASS = "AutoencoderKL"
CLASSES: dict[str, type[Any]] = {
    DEFAULT_CLASS: AutoencoderKL,
    "AutoencoderDC": AutoencoderDC,
    "AutoencoderTiny": AutoencoderTiny,
    "VQModel": VQModel,
}
ENCODER_WEIGHTS = ("encoder.", "quant_conv.")
"""Beginnings of the names of an encoder's weights, on which latents depend."""


def class_of(config: Mapping[str, Any], path: Path) -> type[Any]:
    """The class that an autoencoder's configuration names; AutoencoderKL if it names none.

    Args:
        config: content of its `config.json`.
        path: path to name in the error message.

    Raises:
        CheckpointError: the class isn't supported.
    """
    name = config.get("_class_name", DEFAULT_CLASS)
    if not isinstance(name, str) or name not in CLASSES:
        raise CheckpointError(
            f"{path}: _class_name={name!r} is not a supported autoencoder; use one of "
            f"{', '.join(CLASSES)}"
        )
    return CLASSES[name]


def is_deterministic(vae: Autoencoder) -> bool:
    """Whether an image has exactly one latent image, rather than a posterior."""
    return not isinstance(vae, AutoencoderKL)


def posterior(vae: Autoencoder, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents of images, before scaling.

    Args:
        vae: the autoencoder.
        pixels: (batch, 3, height, width) in [-1, 1], on its device and in its precision.

    Returns:
        (batch, channels, height, width) each, in single precision. The deviation of deterministic
        latents is 0.
    """
    if is_deterministic(vae):
        latents = vae.encode(pixels, return_dict=False)[0].float()
        return latents, torch.zeros_like(latents)
    parameters = vae.encode(pixels).latent_dist.parameters
    distribution = DiagonalGaussianDistribution(parameters.float())
    return distribution.mean, distribution.std


def mean_latents(vae: Autoencoder, pixels: torch.Tensor) -> torch.Tensor:
    """The most likely latents of images, before scaling and in the autoencoder's precision.

    Args:
        vae, pixels: see `posterior`.

    Returns:
        (batch, channels, height, width).
    """
    if is_deterministic(vae):
        latents: torch.Tensor = vae.encode(pixels, return_dict=False)[0]
        return latents
    mean: torch.Tensor = vae.encode(pixels).latent_dist.mean
    return mean


def decoded(vae: Autoencoder, latents: torch.Tensor) -> torch.Tensor:
    """Latents before scaling → pixels (batch, 3, height, width), approximately in [-1, 1]."""
    pixels: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return pixels


def level_widths(vae: Autoencoder) -> tuple[int, ...]:
    """Channels of each level of the encoder, at its full resolution first."""
    config = vae.config
    return tuple(config.get("block_out_channels") or config.encoder_block_out_channels)


def downsampling_factor(vae: Autoencoder) -> int:
    """Pixels per latent, in each direction."""
    return int(2 ** (len(level_widths(vae)) - 1))


def num_colours(vae: Autoencoder) -> tuple[int, int]:
    """Channels of the images that are encoded, and of those that are decoded."""
    config = vae.config
    return config.in_channels, config.get("out_channels", config.in_channels)
