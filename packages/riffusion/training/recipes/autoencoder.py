"""An autoencoder between spectrogram images and latents.

    loss = |x̂ − x| + a · |∇x̂ − ∇x| + m · |averaged x̂ − averaged x| + t · |texture of x̂ − that of x|
         + k · KL(posterior ‖ unit Gaussian)    for a VAE, or
           n · mean square of the latents       for a deterministic autoencoder
         + d · adversarial loss

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
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.autoencoders import Autoencoder, is_deterministic, level_widths
from riffusion.datasets.examples import Example, ImageExamples, pixels_from_bytes
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_fits_vae
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.io.folders import replaced_folder
from riffusion.runtime.devices import copied_to
from riffusion.training.config import AutoencoderConfig, AutoencoderLossConfig
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.losses.discriminator import PatchDiscriminator, adversarial_losses
from riffusion.training.losses.reconstruction import (
    gradient_error,
    multiscale_error,
    texture_error,
)
from riffusion.training.networks.build import (
    check_fixed_options,
    load_autoencoder,
    new_network,
    start_from,
)
from riffusion.training.networks.latent_scaling import normalize_latents, scale_latents
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters

_TRAINABLE = ("AutoencoderKL", "AutoencoderDC", "AutoencoderTiny")
_FEATURE_SHARE = 20.0
"""Weight of the feature-matching loss, relative to that of the generator loss."""
_NUM_SAMPLES = 6
_NUM_MEASURED = 256
"""Number of images from which mean and deviation of the latents are measured."""


class AutoencoderObjective(Objective):
    """The losses of an autoencoder: images are reconstructed from noisy latents.

    A VAE's latents are sampled from the posterior, so it learns how much noise they bear. To
    deterministic latents a set amount is added.

    Args:
        vae: the network in training.
        weights: weights of the losses.
        train_decoder_only: freeze the encoder, and with it the latents.
    """

    def __init__(
        self, vae: Autoencoder, weights: AutoencoderLossConfig, train_decoder_only: bool
    ) -> None:
        super().__init__()
        self.vae = vae
        self.weights = weights
        self.discriminator = PatchDiscriminator() if weights.adversarial > 0 else None
        if train_decoder_only:
            vae.encoder.requires_grad_(False)
            if getattr(vae, "quant_conv", None) is not None:
                vae.quant_conv.requires_grad_(False)

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        pixels, weights = batch["pixels"], self.weights
        latents, name, divergence, weight = self._latents(pixels, generator)
        decoded = autoencoders.decoded(self.vae, latents).float()
        error = (decoded - pixels).abs().mean()
        gradient = gradient_error(decoded, pixels)
        losses = {
            "loss": error + weights.gradient * gradient + weight * divergence,
            "error_of_255": error * 127.5,
            "gradient": gradient,
            name: divergence,
        }
        for name, weight, function in (
            ("multiscale", weights.multiscale, multiscale_error),
            ("texture", weights.texture, texture_error),
        ):
            if weight > 0:
                losses[name] = function(decoded, pixels)
                losses["loss"] = losses["loss"] + weight * losses[name]
        if self.discriminator is not None:
            self._add_adversarial(losses, self.discriminator, decoded, pixels)
        return losses

    def _latents(
        self, pixels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, str, torch.Tensor, float]:
        """Latents with noise; and name, value and weight of the loss that bounds them."""
        weights = self.weights
        if is_deterministic(self.vae):
            clean = autoencoders.mean_latents(self.vae, pixels).float()
            deviation = clean.detach().var(dim=(0, 2, 3)).mean().sqrt()  # as `scale_latents` does
            noise = weights.latent_noise * deviation * _noise_like(clean, generator)
            latents = clean + noise
            return latents, "latent_square", clean.square().mean(), weights.latent_norm
        posterior = self.vae.encode(pixels).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        latents = mean + (0.5 * log_variance).exp() * _noise_like(mean, generator)
        scale = float(self.vae.config.scaling_factor)
        return latents, "kl", _divergence(mean, log_variance, scale), weights.kl

    def _add_adversarial(
        self,
        losses: Losses,
        discriminator: PatchDiscriminator,
        decoded: torch.Tensor,
        pixels: torch.Tensor,
    ) -> None:
        """Add the adversarial losses to `losses`; zeros before the discriminator joins."""
        names = ("generator", "features", "discriminator")
        if self.share_done < self.weights.adversarial_start:
            losses |= dict.fromkeys(names, torch.zeros((), device=decoded.device))
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                # Processes exchange the gradients of all weights, so each needs one.
                unused = torch.stack([weight.sum() for weight in discriminator.parameters()])
                losses["loss"] = losses["loss"] + 0 * unused.sum()
            return
        parts = adversarial_losses(discriminator, decoded, pixels)
        adversarial = parts.generator + _FEATURE_SHARE * parts.features
        losses["loss"] = losses["loss"] + self.weights.adversarial * adversarial
        losses["loss"] = losses["loss"] + parts.discriminator
        losses |= dict(
            zip(names, (parts.generator, parts.features, parts.discriminator), strict=True)
        )


def _noise_like(latents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise of the latents' shape, on their device."""
    noise = torch.randn(latents.shape, generator=generator, device=generator.device)
    return copied_to(latents.device, noise)


def _divergence(mean: torch.Tensor, log_variance: torch.Tensor, scale: float) -> torch.Tensor:
    """KL divergence of the scaled latents' posterior to a unit Gaussian, a mean over elements.

    Latents are scaled first, since diffusion models are trained on scaled latents, and
    `normalize_latents` brings scaled latents to unit deviation.
    """
    scaled = log_variance + 2 * math.log(scale)
    return 0.5 * ((scale * mean).square() + scaled.exp() - 1 - scaled).mean()


class AutoencoderRecipe(Recipe):
    """Trains an autoencoder."""

    objective: AutoencoderObjective

    def __init__(self, folder: DatasetFolder, config: AutoencoderConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        vae = _initial_vae(config)
        _check_losses(config.loss, vae)
        if not is_deterministic(vae) and (vae.quant_conv is None or vae.post_quant_conv is None):
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
        latents = autoencoders.mean_latents(vae, batch)
        return image_from_pixels(autoencoders.decoded(vae, latents)[0])

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
            scale = scale_latents if is_deterministic(vae) else normalize_latents
            scale(vae, self._images("train", _NUM_MEASURED))
        with replaced_folder(directory) as temporary:
            vae.save_pretrained(temporary / "vae")
            self.params.save(temporary)

    def _images(self, split: Split, count: int) -> list[torch.Tensor]:
        """At most `count` whole images of a split, (3, height, width) in [-1, 1].

        They are evenly spaced, or the first ones of a sharded data set, whose order is random.
        """
        examples = ImageExamples(self.folder, split, self.config.data, self.config.run.seed)
        count = min(count, len(examples))
        last = count - 1 if isinstance(self.folder, ShardedFolder) else len(examples) - 1
        chosen = np.linspace(0, last, count).round().astype(int)
        return [pixels_from_bytes(torch.from_numpy(examples.pixels(int(i)).copy())) for i in chosen]

    def facts(self) -> dict[str, Any]:
        vae = self.objective.vae
        return {
            "VAE": f"`{type(vae).__name__}`, factor {autoencoders.downsampling_factor(vae)}, "
            f"{vae.config.latent_channels} latent channels, blocks {level_widths(vae)}, "
            f"{num_parameters(vae)}"
        }


def _initial_vae(config: AutoencoderConfig) -> Autoencoder:
    """The VAE of `init_from`; or a new one as configured, with its weights where they match."""
    if config.init_from is not None and not config.autoencoder:
        vae = load_autoencoder(config.init_from)
        _check_trainable(type(vae).__name__, f"init_from={str(config.init_from)!r} has an")
        return vae
    options = dict(config.autoencoder)
    class_name = options.pop("class_name", autoencoders.DEFAULT_CLASS)
    _check_trainable(class_name, "autoencoder.class_name=")
    colours = {"in_channels": 3, "out_channels": 3}
    check_fixed_options(options, colours, "autoencoder", "images, which are read as RGB")
    vae = new_network(autoencoders.CLASSES[class_name], options, "autoencoder")
    if config.init_from is not None:
        start_from(vae, config.init_from, "vae")
    return vae


def _check_trainable(class_name: Any, where: str) -> None:
    if class_name not in _TRAINABLE:
        raise InputError(
            f"{where}{class_name!r} cannot be trained; use one of {', '.join(_TRAINABLE)}"
        )


def _check_losses(losses: AutoencoderLossConfig, vae: Autoencoder) -> None:
    """Check that no loss is configured that this class of autoencoder doesn't have.

    Raises:
        InputError: one is.
    """
    names = ("kl",) if is_deterministic(vae) else ("latent_noise", "latent_norm")
    for name in names:
        value = getattr(losses, name)
        if name in losses.model_fields_set and value > 0:
            what = "deterministic autoencoders have none" if name == "kl" else "a VAE learns it"
            remedy = "latent_noise and latent_norm" if name == "kl" else "kl"
            raise InputError(
                f"loss.{name}={value} does not apply to {type(vae).__name__}, since {what}; set "
                f"loss.{remedy} instead"
            )


def image_from_pixels(pixels: torch.Tensor) -> Image.Image:
    """(3, height, width) in [-1, 1] → RGB image."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())
