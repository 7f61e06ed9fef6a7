"""A VAE between spectrogram images and latents.

    loss = |x̂ − x| + a · |∇x̂ − ∇x| + k · KL(posterior ‖ unit Gaussian) + d · adversarial loss

The gradient term compares differences between neighbouring pixels. It emphasises edges (partials
and onsets), while L1 alone is dominated by plain areas. The optional adversarial loss makes the
decoder produce realistic textures where the latents don't determine the details.
"""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from riffusion.datasets.examples import Example, ImageExamples, pixels_from_bytes
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_fits_vae, downsampling_factor
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.io.folders import replaced_folder
from riffusion.runtime.devices import copied_to
from riffusion.training.config import AutoencoderConfig, AutoencoderLossConfig
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.losses.discriminator import PatchDiscriminator, adversarial_losses
from riffusion.training.networks.build import load_network, new_network, start_from
from riffusion.training.networks.latent_scaling import normalize_latents
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters

_FEATURE_SHARE = 20.0
"""Weight of the feature-matching loss, relative to that of the generator loss."""
_NUM_SAMPLES = 6
_NUM_MEASURED = 256
"""Number of images from which mean and deviation of the latents are measured."""


class AutoencoderObjective(Objective):
    """The losses of a VAE: images are reconstructed from latents sampled from the posterior.

    Args:
        vae: the network in training.
        weights: weights of the losses.
        train_decoder_only: freeze the encoder, and with it the latents.
    """

    def __init__(
        self, vae: AutoencoderKL, weights: AutoencoderLossConfig, train_decoder_only: bool
    ) -> None:
        super().__init__()
        self.vae = vae
        self.weights = weights
        self.discriminator = PatchDiscriminator() if weights.adversarial > 0 else None
        if train_decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        pixels = batch["pixels"]
        posterior = self.vae.encode(pixels).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        noise = copied_to(mean.device, torch.randn(mean.shape, generator=generator))
        latents = mean + (0.5 * log_variance).exp() * noise
        decoded = self.vae.decode(latents).sample.float()
        error = (decoded - pixels).abs().mean()
        gradient = _gradient_error(decoded, pixels)
        kl = _divergence(mean, log_variance, float(self.vae.config.scaling_factor))
        losses = {
            "loss": error + self.weights.gradient * gradient + self.weights.kl * kl,
            "error_of_255": error * 127.5,
            "gradient": gradient,
            "kl": kl,
        }
        if self.discriminator is not None:
            parts = adversarial_losses(self.discriminator, decoded, pixels)
            adversarial = parts.generator + _FEATURE_SHARE * parts.features
            losses["loss"] = losses["loss"] + self.weights.adversarial * adversarial
            losses["loss"] = losses["loss"] + parts.discriminator
            losses |= {
                "generator": parts.generator,
                "features": parts.features,
                "discriminator": parts.discriminator,
            }
        return losses


def _gradient_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean L1 error of the differences between neighbours in time and in frequency."""
    error = decoded - pixels
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _divergence(mean: torch.Tensor, log_variance: torch.Tensor, scale: float) -> torch.Tensor:
    """KL divergence of the scaled latents' posterior to a unit Gaussian, a mean over elements.

    Latents are scaled first, since diffusion models are trained on scaled latents, and
    `normalize_latents` brings scaled latents to unit deviation.
    """
    scaled = log_variance + 2 * math.log(scale)
    return 0.5 * ((scale * mean).square() + scaled.exp() - 1 - scaled).mean()


class AutoencoderRecipe(Recipe):
    """Trains an `AutoencoderKL`."""

    objective: AutoencoderObjective

    def __init__(self, folder: DatasetFolder, config: AutoencoderConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        vae = _initial_vae(config)
        if vae.quant_conv is None or vae.post_quant_conv is None:
            raise InputError(
                "autoencoder.use_quant_conv and use_post_quant_conv must be true, since latent "
                "scales are folded into those convolutions; leave them out"
            )
        check_fits_vae(folder, config.data, vae)
        self.objective = AutoencoderObjective(vae, config.loss, config.train_decoder_only)

    def examples(self, split: Split, cache: Path) -> ImageExamples:
        del cache
        return ImageExamples(self.folder, split, self.config.data, self.config.run.seed)

    def sample(self) -> Samples:
        """Held-out images above their reconstructions."""
        split: Split = "validation" if self.folder.rows("validation") else "train"
        images = self._images(split, _NUM_SAMPLES)
        with torch.inference_mode():
            reconstructed = [self._reconstruct(image) for image in images]
        held_out = [image_from_pixels(image) for image in images]
        return Samples(
            rows=[held_out, reconstructed],
            captions=["held out", "reconstructed"],
            played=[("held out", held_out[0]), ("reconstructed", reconstructed[0])],
        )

    def _reconstruct(self, pixels: torch.Tensor) -> Image.Image:
        vae = self.objective.vae
        batch = pixels[None].to(vae.device)
        return image_from_pixels(vae.decode(vae.encode(batch).latent_dist.mean).sample[0])

    def export(self, directory: Path) -> None:
        """Write `vae/` and `spectrogram_params.json`, with latents scaled to about unit deviation.

        If only the decoder of a whole checkpoint was trained, the whole checkpoint is written.
        """
        vae, origin = self.objective.vae, self.config.init_from
        if self.config.train_decoder_only and origin is not None and (origin / "unet").is_dir():
            pipeline = RiffusionPipeline.from_pretrained(origin, device="cpu")
            pipeline.register_modules(vae=vae)
            write_checkpoint(pipeline, directory)
            return
        if self.config.normalize_latents and not self.config.train_decoder_only:
            vae = copy.deepcopy(vae)  # training may continue with it
            normalize_latents(vae, self._images("train", _NUM_MEASURED))
        with replaced_folder(directory) as temporary:
            vae.save_pretrained(temporary / "vae")
            self.params.save(temporary)

    def _images(self, split: Split, count: int) -> list[torch.Tensor]:
        """At most `count` whole images, evenly spaced in a split, (3, height, width) in [-1, 1]."""
        examples = ImageExamples(self.folder, split, self.config.data, self.config.run.seed)
        chosen = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
        return [pixels_from_bytes(torch.from_numpy(examples.pixels(int(i)).copy())) for i in chosen]

    def facts(self) -> dict[str, Any]:
        vae = self.objective.vae
        blocks = tuple(vae.config.block_out_channels)
        return {
            "VAE": f"`AutoencoderKL`, factor {downsampling_factor(vae)}, "
            f"{vae.config.latent_channels} latent channels, blocks {blocks}, {num_parameters(vae)}"
        }


def _initial_vae(config: AutoencoderConfig) -> AutoencoderKL:
    """The VAE of `init_from`; or a new one as configured, with its weights where they match."""
    if config.init_from is not None and not config.autoencoder:
        return load_network(AutoencoderKL, config.init_from, "vae")
    vae = new_network(AutoencoderKL, config.autoencoder, "autoencoder")
    if config.init_from is not None:
        start_from(vae, config.init_from, "vae")
    return vae


def image_from_pixels(pixels: torch.Tensor) -> Image.Image:
    """(3, height, width) in [-1, 1] → RGB image."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())
