"""A diffusers pipeline that generates clips from encodings of audio."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    ImagePipelineOutput,
    UNet2DConditionModel,
)
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from riffusion.checkpoint.autoencoders import Autoencoder
from riffusion.diffusion.torch_random import generator_from_seed
from riffusion.errors import InputError
from riffusion.training.networks.audio_encoder import AudioEncoder, encoder_input


class AudioConditionalPipeline(DiffusionPipeline):  # type: ignore[misc] # diffusers is untyped
    """Encodings → images. `from_pretrained` and `save_pretrained` are diffusers' own.

    Args:
        unet: generates pixels, or latents of `vae`. Its `sample_size` is (height, width) of them.
        scheduler: DDIM, with the noise schedule of training.
        vae: None for a UNet that generates pixels.
        audio_encoder: encodes images; None if encodings come from elsewhere.
    """

    _optional_components = ["vae", "audio_encoder"]  # noqa: RUF012

    def __init__(
        self,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
        vae: Autoencoder | None = None,
        audio_encoder: AudioEncoder | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae, audio_encoder=audio_encoder)

    @classmethod
    def from_pretrained(cls, *args: Any, **options: Any) -> AudioConditionalPipeline:
        """Load a pipeline, as diffusers does.

        `model_index.json` of earlier checkpoints names the audio encoder by its former module,
        which diffusers finds only if it is imported already.
        """
        importlib.import_module("riffusion.training.audio_encoder")
        pipeline: AudioConditionalPipeline = super().from_pretrained(*args, **options)
        return pipeline

    @torch.inference_mode()
    def encode(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Encodings of images, (images, tokens, width).

        Raises:
            InputError: the pipeline has no audio encoder.
        """
        if self.audio_encoder is None:
            raise InputError(
                "this checkpoint has no audio encoder of its own; encodings.json in it tells where "
                "its encodings come from"
            )
        inputs = torch.stack([encoder_input(image) for image in images])
        encodings: torch.Tensor = self.audio_encoder(
            inputs.to(self.audio_encoder.device, self.audio_encoder.dtype)
        )
        return encodings

    @torch.inference_mode()
    def __call__(
        self,
        encodings: torch.Tensor,
        seeds: Sequence[int] | None = None,
        num_inference_steps: int = 50,
        guidance: float = 2.0,
    ) -> ImagePipelineOutput:
        """Generate one image per encoding.

        Args:
            encodings: (images, tokens, width).
            seeds: seeds of the noise, one per image; None stands for 0, 1, ….
            num_inference_steps: DDIM steps.
            guidance: scale of classifier-free guidance (Ho & Salimans 2022); 1 is off.

        Raises:
            InputError: encodings have another shape than the UNet needs, or the number of seeds
                differs from the number of encodings.
        """
        unet, scheduler = self.unet, type(self.scheduler).from_config(self.scheduler.config)
        width = unet.config.cross_attention_dim
        if encodings.ndim != 3 or encodings.shape[-1] != width:
            raise InputError(
                f"shape {tuple(encodings.shape)} must be (images, tokens, {width}); "
                "encodings.json of the checkpoint describes them",
                field="encodings",
            )
        seeds = range(len(encodings)) if seeds is None else seeds
        if len(seeds) != len(encodings):
            raise InputError(
                f"{list(seeds)} must be one for each of the {len(encodings)} encodings",
                field="seeds",
            )
        states = encodings.to(unet.device, unet.dtype)
        noise = self._noise(seeds)
        sample = noise.to(unet.device, unet.dtype)
        scheduler.set_timesteps(num_inference_steps)
        is_guided = guidance != 1.0
        context = torch.cat([torch.zeros_like(states), states]) if is_guided else states
        for timestep in scheduler.timesteps:
            noisy = torch.cat([sample, sample]) if is_guided else sample
            prediction = unet(noisy, timestep, encoder_hidden_states=context, return_dict=False)[0]
            if is_guided:
                unconditional, prediction = prediction.chunk(2)
                prediction = unconditional + guidance * (prediction - unconditional)
            sample = scheduler.step(prediction, timestep, sample).prev_sample
        return ImagePipelineOutput(images=self._images(sample))

    def _noise(self, seeds: Sequence[int]) -> torch.Tensor:
        """Noise, generated on the CPU, so that a seed gives the same image on every device."""
        config = self.unet.config
        size: Any = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        shape = (config.in_channels, height, width)
        return torch.stack(
            [torch.randn(shape, generator=generator_from_seed(seed)) for seed in seeds]
        )

    def _images(self, sample: torch.Tensor) -> list[Image.Image]:
        if self.vae is not None:
            sample = self.vae.decode(sample / self.vae.config.scaling_factor, return_dict=False)[0]
        images: list[Image.Image] = VaeImageProcessor.numpy_to_pil(
            VaeImageProcessor.pt_to_numpy((sample.float() / 2 + 0.5).clamp(0, 1))
        )
        return images
