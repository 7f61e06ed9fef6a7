"""Latent consistency distillation of a checkpoint, in full or as LoRA (Luo et al. 2023).

A `full` student is a copy of the UNet that is told the guidance scale, so that one row per step
takes the place of two. Told nothing (zeros), it stays the ordinary network: a part of each batch
imitates the teacher. A `lora` student is the teacher with LoRA (LCM-LoRA), and is told nothing.
"""

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from riffusion.checkpoint.distillation import Distillation, read_distillation
from riffusion.checkpoint.loader import Components
from riffusion.datasets.circular_shifts import encoded_examples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import check_fits_vae
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.job import DenoisingJob
from riffusion.diffusion.torch_random import draw_noise, generator_from_seed
from riffusion.errors import InputError
from riffusion.training.adapters.lora import adapter_weights, add_lora, merged_weights
from riffusion.training.config import DistillationConfig, LoraConfig
from riffusion.training.export.adapter import write_adapter
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.losses.consistency import ConsistencyPath
from riffusion.training.networks.distilled_unet import told_the_guidance
from riffusion.training.recipes.base_checkpoint import (
    HALF,
    check_params,
    load_base,
    name_of,
    prediction_of,
)
from riffusion.training.recipes.captions import CaptionTable, NumberedCaptions
from riffusion.training.recipes.distillation_objective import DistillationObjective, predict
from riffusion.training.recipes.recipe import Recipe, Samples, num_parameters
from riffusion.training.recipes.text_to_spectrogram import held_out_captions


class DistillationRecipe(Recipe):
    """Trains a student that draws in a few steps what its teacher draws in many."""

    objective: DistillationObjective

    def __init__(self, folder: DatasetFolder, config: DistillationConfig) -> None:
        super().__init__(folder, config.data)
        self.config = config
        self.half = HALF[config.run.mixed_precision]
        base = load_base(config.checkpoint)
        check_params(base, folder, config.data, "data.dataset")
        self._check_teacher(base)
        self.base_name = name_of(base)
        self.prediction = prediction_of(base, config.checkpoint)
        self.vae = base.vae.requires_grad_(False)
        check_fits_vae(folder, config.data, self.vae)
        self.tokenizer, self.scheduler = base.tokenizer, base.scheduler
        self.text_encoder = base.text_encoder.requires_grad_(False)
        path = ConsistencyPath(base.scheduler, config.solver_steps)
        self.objective = DistillationObjective(*self._networks(base.unet), path, config)
        splits: tuple[Split, ...] = ("train", "validation")
        self.table = CaptionTable(row for split in splits for row in folder.rows(split))

    def _check_teacher(self, base: Components) -> None:
        """Check that the checkpoint can teach this student.

        Raises:
            InputError: it is distilled and has no guided sampling, or is to get a LoRA.
        """
        found = read_distillation(base.directory, base.unet.config)
        where = f"checkpoint={self.config.checkpoint!r}"
        if found is not None and not found.guided_sampling:
            raise InputError(
                f"{where} is a distilled network without guided sampling, but a teacher is sampled "
                "with guidance in many steps; name the checkpoint that it was distilled from"
            )
        if found is not None and self.config.student == "lora":
            raise InputError(
                f"{where} is distilled already, and student=lora would change its guided sampling, "
                "too; use student=full, or name the checkpoint that it was distilled from"
            )

    def _networks(self, unet: Any) -> tuple[nn.Module | None, nn.Module]:
        """Teacher and student; frozen weights are in the run's precision."""
        student = None if self.config.student == "lora" else told_the_guidance(unet).train()
        unet.requires_grad_(False).eval()
        if self.half is not None:
            nn.Module.to(unet, self.half)  # diffusers' own `to` gives an irrelevant warning
        if student is not None:
            return unet, student.requires_grad_(True)
        add_lora(unet, "unet", self.config.lora or LoraConfig())
        return None, unet

    def examples(self, split: Split, cache: Path) -> NumberedCaptions:
        config, objective = self.config, self.objective
        latents = encoded_examples(
            self.folder, split, self.vae, config.data, cache, config.run.seed
        )
        if len(objective.embeddings) < len(self.table.captions):
            self.text_encoder.to(self.vae.device)
            objective.embeddings = self.table.embedded(
                self.tokenizer, self.text_encoder, self.half or torch.float32
            )
            self.text_encoder.to("cpu")
        self.vae.to("cpu")  # until samples are generated: the UNets need the GPU memory
        return NumberedCaptions(latents, self.table, config.data.caption_dropout, config.run.seed)

    def sample(self) -> Samples:
        """Samples in few steps, one row of the UNet per step and image."""
        config, unet = self.config.sample, self.objective.student
        prompts = list(config.prompts) or held_out_captions(self.folder)
        for part in (self.vae, self.text_encoder):
            part.to(unet.device)
        pipeline = self._pipeline(unet, self.scheduler)
        mixed = nullcontext() if self.half is None else torch.autocast(unet.device.type, self.half)
        with mixed:
            rows = [self._sample_row(pipeline, prompt) for prompt in prompts]
        for part in (self.vae, self.text_encoder):
            part.to("cpu")
        played = [(prompt, row[0]) for prompt, row in zip(prompts, rows, strict=True)]
        return Samples(rows=rows, captions=prompts, played=played)

    @torch.inference_mode()
    def _sample_row(self, pipeline: RiffusionPipeline, prompt: str) -> list[Image.Image]:
        """Images of one prompt, one per seed."""
        config, unet = self.config, self.objective.student
        jobs = [self._new_job(pipeline, prompt, seed) for seed in range(config.sample.seeds)]
        states = torch.cat([job.unet_embeddings() for job in jobs])
        scales = torch.full((len(jobs),), config.sample_guidance, device=unet.device)
        told = self.objective.conditions(scales, len(jobs))
        while not jobs[0].is_done:
            noisy = torch.cat([job.unet_rows() for job in jobs])
            timesteps = jobs[0].timestep.to(unet.device).expand(len(jobs))
            predictions = predict(unet, noisy, timesteps, states, told)
            for job, prediction in zip(jobs, torch.split(predictions, 1), strict=True):
                job.advance(prediction)
        return pipeline.decode(jobs)

    def _new_job(self, pipeline: RiffusionPipeline, prompt: str, seed: int) -> DenoisingJob:
        """A clip of the usual length that begins with the seed's noise."""
        unet, scheduler = self.objective.student, copy.deepcopy(self.objective.path.scheduler)
        scheduler.set_timesteps(self.config.sample.steps)
        geometry, generator = pipeline._sizes.of_clip(), generator_from_seed(seed)
        return DenoisingJob(
            geometry=geometry,
            latents=draw_noise(generator, geometry, unet.config.in_channels).to(unet.device),
            timesteps=scheduler.timesteps,
            scheduler=scheduler,
            embeddings=pipeline.embed_text(prompt),
            guidance=1.0,  # no second row; the student is told its guidance
            generator=generator,
        )

    def _pipeline(self, unet: nn.Module, scheduler: Any) -> RiffusionPipeline:
        return RiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=unet,
            scheduler=scheduler,
            spectrogram_params=self.params,
        )

    def export(self, directory: Path) -> None:
        """Write the whole checkpoint, and for a LoRA `adapter/` beside it."""
        config, student = self.config, self.objective.student
        if config.student == "full":
            scheduler = self.scheduler if config.is_guided else self.objective.path.scheduler
            found = Distillation(
                config.max_steps, config.guidance, config.is_guided, config.solver_steps
            )
            write_checkpoint(self._pipeline(student, scheduler), directory, found)
            return
        unet = load_base(config.checkpoint).unet  # frozen weights may be in half precision only
        unet.load_state_dict(merged_weights(unet.state_dict(), student))
        write_checkpoint(self._pipeline(unet, self.objective.path.scheduler), directory)
        lora = adapter_weights(student, "unet")
        write_adapter(directory.with_name("adapter"), lora, {}, self.base_name, _USAGE)

    def facts(self) -> dict[str, Any]:
        config, student = self.config, self.objective.student
        low, high = config.guidance
        scales = f"{low:g}" if low == high else f"{low:g} to {high:g}, drawn per example"
        if config.student == "lora":
            lora = config.lora or LoraConfig()
            trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
            what = f"LoRA of rank {lora.rank}, {trained / 1e6:.2f} M of {num_parameters(student)}"
            use = f"`lcm` in up to {config.max_steps} steps with guidance 1"
        else:
            what = f"all of the UNet, {num_parameters(student)}"
            use = f"`lcm` in up to {config.max_steps} steps with guidance {low:g} to {high:g}"
            guided = "as the teacher" if config.is_guided else "not possible"
            use += f"; guided sampling in many steps: {guided}"
        target = f"moving average with decay {config.decay:g}" if config.decay else "the student"
        loss = f"pseudo-Huber, c {config.huber_c:g}" if config.loss == "huber" else "squared error"
        return {
            "teacher": f"{self.base_name}, predicts {self.prediction}, guidance {scales}",
            "distilled": f"{what}; latent consistency distillation over {config.solver_steps} DDIM "
            f"steps, {loss}, targets from {target}",
            "to be sampled": use,
        }


_USAGE = (
    "from diffusers import LCMScheduler",
    "pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)",
    "pipeline(prompt, num_inference_steps=4, guidance_scale=1)",
)
"""How stock diffusers samples a distilled adapter."""
