"""A VAE between spectrogram images and latents.

    loss = |x̂ − x| + a · |∇x̂ − ∇x| + k · KL(posterior ‖ unit Gaussian) + d · adversary

The gradient term compares differences between neighbouring pixels. It weighs edges, which partials
and onsets are, against plain surfaces, which L1 alone is content to get right. The adversary, which
is optional, asks for textures that can be real where the latents don't say which one it was.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from riffusion.datasets.examples import Example, ImageExamples, pixels_from_bytes
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_multiple, image_size
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.io.folders import replaced_folder
from riffusion.training.config import AutoencoderConfig, AutoencoderLossConfig
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.latent_scaling import normalize_latents
from riffusion.training.losses.discriminator import PatchDiscriminator, adversarial_losses
from riffusion.training.networks.build import load_network, new_network, start_from
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters

_FEATURE_SHARE = 20.0
"""Weight of the adversary's features to that of its verdict."""
_NUM_SHOWN = 6
_NUM_MEASURED = 256
"""Images whose latents say how channels are scaled."""


class AutoencoderObjective(Objective):
    """Reconstruction of pixels through the posterior's noise.

    Args:
        vae: the network in training.
        weights: of the losses.
        train_decoder_only: the encoder, and with it the latents, stay as they are.
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
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
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
            weighed = parts.generator + _FEATURE_SHARE * parts.features
            losses["loss"] = losses["loss"] + self.weights.adversarial * weighed
            losses["loss"] = losses["loss"] + parts.discriminator
            losses |= {
                "generator": parts.generator,
                "features": parts.features,
                "discriminator": parts.discriminator,
            }
        return losses


def _gradient_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean L1 of the differences of neighbours in time and in frequency."""
    error = decoded - pixels
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _divergence(mean: torch.Tensor, log_variance: torch.Tensor, scale: float) -> torch.Tensor:
    """KL divergence of scaled latents to a unit Gaussian, a mean over their elements.

    Scaled, since that is what diffusion sees and what `normalize_latents` leaves at deviation 1.
    """
    scaled = log_variance + 2 * math.log(scale)
    return 0.5 * ((scale * mean).square() + scaled.exp() - 1 - scaled).mean()


class AutoencoderRecipe(Recipe):
    """Trains an `AutoencoderKL`."""

    objective: AutoencoderObjective

    def __init__(self, folder: DatasetFolder, config: AutoencoderConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        vae = _first_vae(config)
        if vae.quant_conv is None or vae.post_quant_conv is None:
            raise InputError(
                "autoencoder.use_quant_conv and use_post_quant_conv must be true, as channels are "
                "scaled in those convolutions; leave them out"
            )
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        check_multiple(image_size(folder, config.data), factor, config.data, "the VAE")
        self.objective = AutoencoderObjective(vae, config.loss, config.train_decoder_only)

    def examples(self, split: Split, cache: Path) -> ImageExamples:
        del cache
        return ImageExamples(self.folder, split, self.config.data, self.config.run.seed)

    def sample(self) -> Samples:
        """Held-out images above what comes back from their latents."""
        split: Split = "validation" if self.folder.rows("validation") else "train"
        images = self._images(split, _NUM_SHOWN)
        with torch.inference_mode():
            rebuilt = [self._rebuild(image) for image in images]
        shown = [image_from_pixels(image) for image in images]
        return Samples(
            rows=[shown, rebuilt],
            captions=["held out", "rebuilt"],
            heard=[("held out", shown[0]), ("rebuilt", rebuilt[0])],
        )

    def _rebuild(self, pixels: torch.Tensor) -> Image.Image:
        vae = self.objective.vae
        batch = pixels[None].to(vae.device)
        return image_from_pixels(vae.decode(vae.encode(batch).latent_dist.mean).sample[0])

    def export(self, directory: Path) -> None:
        """Write `vae/` and `spectrogram_params.json`; scaled latents have about unit deviation.

        A decoder that was trained for a whole checkpoint is written in its midst.
        """
        vae, origin = self.objective.vae, self.config.init_from
        if self.config.train_decoder_only and origin is not None and (origin / "unet").is_dir():
            pipeline = RiffusionPipeline.from_pretrained(origin, device="cpu")
            pipeline.register_modules(vae=vae)
            write_checkpoint(pipeline, directory)
            return
        if self.config.normalize_latents and not self.config.train_decoder_only:
            normalize_latents(vae, self._images("train", _NUM_MEASURED))
        with replaced_folder(directory) as temporary:
            vae.save_pretrained(temporary / "vae")
            self.params.save(temporary)

    def _images(self, split: Split, count: int) -> list[torch.Tensor]:
        """At most so many whole images from all over a split, (3, height, width) in [-1, 1]."""
        examples = ImageExamples(self.folder, split, self.config.data, self.config.run.seed)
        chosen = np.linspace(0, len(examples) - 1, min(count, len(examples))).round().astype(int)
        return [pixels_from_bytes(torch.from_numpy(examples.pixels(int(i)).copy())) for i in chosen]

    def facts(self) -> dict[str, Any]:
        vae = self.objective.vae
        blocks = tuple(vae.config.block_out_channels)
        return {
            "VAE": f"`AutoencoderKL`, factor {2 ** (len(blocks) - 1)}, "
            f"{vae.config.latent_channels} latent channels, blocks {blocks}, {num_parameters(vae)}"
        }


def _first_vae(config: AutoencoderConfig) -> AutoencoderKL:
    """The VAE of `init_from`; or one as described, with what fits of its weights."""
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
