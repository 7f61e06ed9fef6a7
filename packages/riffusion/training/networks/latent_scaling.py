"""Scales the latents of a VAE to the range that diffusion needs, without changing decoded images.

The scaling factor of Stable Diffusion is one number for all channels. The channels of a small VAE
differ in mean and spread, so each gets its own shift and scale, folded into the 1×1 convolutions at
the end of the encoder and at the start of the decoder.
"""

from collections.abc import Iterable

import torch
from diffusers import AutoencoderKL

from riffusion.checkpoint.autoencoders import Autoencoder, mean_latents

SMALLEST_DEVIATION = 0.3
"""Relative to the channel with the largest deviation. Channels below this are not scaled up to unit
deviation: the diffusion model would spend as much effort on their noise as on the music in the
others."""


@torch.no_grad()
def normalize_latents(vae: AutoencoderKL, images: Iterable[torch.Tensor]) -> None:
    """Shift and scale channels so that scaled latents have zero mean and at most unit deviation.

    With z' = (z − m) / d per channel: the encoder's last convolution gets W / d and (b − m) / d for
    means and b − 2·ln d for log-variances; the decoder's first convolution gets W · d and
    b + W · m.

    Args:
        vae: changed in place; must have `quant_conv` and `post_quant_conv`.
        images: images to measure mean and deviation with, each (3, height, width) in [-1, 1].
    """
    mean, deviation = _mean_and_deviation(vae, images)
    deviation = deviation.clamp(min=SMALLEST_DEVIATION * float(deviation.max()))
    shift, scale = mean.float(), (deviation * float(vae.config.scaling_factor)).float()
    channels = len(mean)

    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    weight, bias = encoder.weight, encoder.bias
    bias[:channels] = (bias[:channels] - shift) / scale
    weight[:channels] /= scale[:, None, None, None]
    bias[channels:] -= 2 * scale.log()
    decoder.bias += decoder.weight[:, :, 0, 0] @ shift
    decoder.weight *= scale[None, :, None, None]


@torch.no_grad()
def scale_latents(vae: Autoencoder, images: Iterable[torch.Tensor]) -> None:
    """Set the scaling factor so that scaled latents have unit deviation around each channel's mean.

    One number for all channels: the shortcuts of AutoencoderDC pass latents by its convolutions, so
    a scale per channel can't be folded into weights.

    Args:
        vae: its configuration is changed.
        images: images to measure the deviation with, each (3, height, width) in [-1, 1].
    """
    _, deviation = _mean_and_deviation(vae, images)
    vae.register_to_config(scaling_factor=1 / float(deviation.square().mean().sqrt()))


def _mean_and_deviation(
    vae: Autoencoder, images: Iterable[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel of the latents before scaling, in float64."""
    means, squares, count = 0.0, 0.0, 0
    for image in images:
        latents = mean_latents(vae, image[None].to(vae.device)).double()
        means = means + latents.mean(dim=(0, 2, 3))
        squares = squares + latents.square().mean(dim=(0, 2, 3))
        count += 1
    mean = torch.as_tensor(means / count)
    return mean, (torch.as_tensor(squares / count) - mean.square()).clamp(min=1e-12).sqrt()
