"""An unconditional diffusion model of pixels or of a VAE's latents.

Pixels: Ho et al. 2020, "Denoising diffusion probabilistic models". Latents: Rombach et al. 2022,
"High-resolution image synthesis with latent diffusion models". Samplers: DDPM, or DDIM (Song et al.
2020), which is deterministic and needs fewer steps.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    LDMPipeline,
    UNet2DModel,
)

from riffusion.checkpoint.files import MAX_SHARD_SIZE
from riffusion.checkpoint.networks import half_copy
from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import Example, ImageExamples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.errors import InputError
from riffusion.io.folders import replaced_folder
from riffusion.training.config import UnconditionalConfig
from riffusion.training.losses.diffusion import DiffusionLoss
from riffusion.training.networks.build import check_fixed_options, new_network, start_from
from riffusion.training.recipes.image_space import ImageSpace
from riffusion.training.recipes.recipe import Losses, Objective, Recipe, Samples, num_parameters


class UnconditionalObjective(Objective):
    """The diffusion loss of an unconditional UNet.

    Args:
        unet: the network in training.
        loss: the loss of its predictions.
        space: pixels or latents.
    """

    def __init__(self, unet: UNet2DModel, loss: DiffusionLoss, space: ImageSpace) -> None:
        super().__init__()
        self.unet = unet
        self.loss = loss
        self.space = space

    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            prediction: torch.Tensor = self.unet(noisy, timesteps, return_dict=False)[0]
            return prediction

        return {"loss": self.loss(self.space.clean(batch), generator, predict)}


class UnconditionalRecipe(Recipe):
    """Trains a `UNet2DModel`."""

    objective: UnconditionalObjective

    def __init__(self, folder: DatasetFolder, config: UnconditionalConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        self.space = ImageSpace(folder, config)
        height, width = self.space.size
        if self.space.vae is not None and height != width:
            raise InputError(
                f"images of {width * self.space.factor} x {height * self.space.factor} pixels "
                "must be square, since diffusers' LDMPipeline generates square latents; set "
                "data.resolution, or leave vae out"
            )
        options = {
            "sample_size": height if height == width else (height, width),
            "in_channels": self.space.channels,
            "out_channels": self.space.channels,
        }
        what = "images" if self.space.vae is None else "latents"
        check_fixed_options(config.unet, options, "unet", f"the {what}")
        unet = new_network(UNet2DModel, options | config.unet, "unet")
        self.space.check_levels(len(unet.config.block_out_channels))
        if config.init_from is not None:
            start_from(unet, config.init_from, "unet")
        self.objective = UnconditionalObjective(unet, self.space.loss(config), self.space)

    def examples(self, split: Split, cache: Path) -> ImageExamples | CircularlyShiftedLatents:
        return self.space.examples(split, cache)

    def pipeline(self) -> DiffusionPipeline:
        """The networks as they are, in a pipeline of stock diffusers."""
        unet, schedule = self.objective.unet, self.objective.loss.schedule.config
        if self.space.vae is not None:
            # LDMPipeline expects a VQModel, but it only calls `decode`, so a VAE works, too.
            pipeline = LDMPipeline(
                vqvae=self.space.vae.to(unet.device),
                unet=unet,
                scheduler=DDIMScheduler.from_config(schedule),
            )
        elif self.config.sample.sampler == "ddim":
            pipeline = DDIMPipeline(unet=unet, scheduler=DDIMScheduler.from_config(schedule))
        else:
            pipeline = DDPMPipeline(unet=unet, scheduler=DDPMScheduler.from_config(schedule))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self) -> Samples:
        """One row of images, with seeds 0, 1, …."""
        config = self.config.sample
        generators = [torch.Generator().manual_seed(seed) for seed in range(config.images)]
        with torch.inference_mode():
            images = self.pipeline()(
                batch_size=config.images, generator=generators, num_inference_steps=config.steps
            ).images
        row = [image.convert("RGB") for image in images]
        caption = f"{config.sampler}, {config.steps} steps"
        return Samples(rows=[row], captions=[caption], played=[(caption, row[0])])

    def export(self, directory: Path) -> None:
        """Write a folder for `DDPMPipeline` and `DDIMPipeline`; for latents, for `LDMPipeline`."""
        pipeline = self.pipeline()
        parts = {name: half_copy(part) for name, part in pipeline.components.items()}
        with replaced_folder(directory) as folder:
            type(pipeline)(**parts).save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)
            self.params.save(folder)

    def facts(self) -> dict[str, Any]:
        unet = self.objective.unet
        pipeline = type(self.pipeline()).__name__
        facts = {
            "UNet": f"`UNet2DModel`, blocks {tuple(unet.config.block_out_channels)}, "
            f"{self.config.objective.prediction}, {num_parameters(unet)}",
            "generates": self.space.description,
            "to load": f"`diffusers.{pipeline}.from_pretrained(folder)`; "
            "`riffusion unconditional folder -n 8 -o clip.wav` makes clips",
        }
        if self.space.vae is not None:
            facts["VAE"] = (
                f"`{type(self.space.vae).__name__}`, {num_parameters(self.space.vae)}, not trained "
                "here; it is in `vqvae/`, where `LDMPipeline` expects it"
            )
        return facts
