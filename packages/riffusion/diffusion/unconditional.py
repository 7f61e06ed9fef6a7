"""Diffusion without text: new samples, variations, inpainting, and the way back to the noise.

A sample is what the UNet denoises: pixels, or scaled latents of a VAE. Samplers are DDPM (Ho et al.
2020, "Denoising diffusion probabilistic models") and DDIM (Song et al. 2020, "Denoising diffusion
implicit models"), both of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler

from riffusion.checkpoint.autoencoders import downsampling_factor
from riffusion.checkpoint.unconditional import UnconditionalNetworks
from riffusion.diffusion.torch_networks import TorchAutoencoder
from riffusion.diffusion.torch_random import generator_from_seed
from riffusion.errors import GenerationError

_SAMPLERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler}
_INVERSION_ROUNDS = 4
"""UNet calls per step of the inversion; with 1 it is the usual approximate one."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Start:
    """What a sample starts from beside noise.

    Args:
        clean: the sample of existing audio, (1, channels, height, width).
        step: the first step to take; at 0 nothing of `clean` is left but what is kept.
        is_kept: columns that stay as in `clean`, (width,) bool.
    """

    clean: torch.Tensor
    step: int
    is_kept: torch.Tensor


class UnconditionalSampler:
    """Samples with one checkpoint. A sample of several clips has them in its first dimension.

    Args:
        networks: the loaded checkpoint.
    """

    def __init__(self, networks: UnconditionalNetworks) -> None:
        self._unet, self._scheduler = networks.unet, networks.scheduler
        self._codec = None if networks.vae is None else TorchAutoencoder(networks.vae)
        self.factor = 1 if networks.vae is None else downsampling_factor(networks.vae)
        config = networks.unet.config if networks.vae is None else networks.vae.config
        self.num_colours: int = config.in_channels

    @property
    def device(self) -> torch.device:
        device: torch.device = self._unet.device
        return device

    def noise(self, seed: int) -> tuple[torch.Tensor, torch.Generator]:
        """A clip's first noise (1, channels, height, width), and the generator of all further.

        They are drawn on the CPU, so that a seed gives the same clip on every device.
        """
        size: Any = self._unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        generator = generator_from_seed(seed)
        shape = (1, self._unet.config.in_channels, height, width)
        return torch.randn(shape, generator=generator), generator

    @torch.inference_mode()
    def encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (1, colours, height, width) in [-1, 1] → a sample."""
        if self._codec is None:
            return pixels.to(self.device)
        return self._codec.posterior(pixels)[0]

    @torch.inference_mode()
    def decoded(self, sample: torch.Tensor) -> torch.Tensor:
        """A sample → pixels on the CPU, approximately in [-1, 1].

        Raises:
            GenerationError: they aren't finite.
        """
        pixels = (sample if self._codec is None else self._codec.decode(sample)).float().cpu()
        if not bool(pixels.isfinite().all()):
            raise GenerationError(
                "the checkpoint generated pixels that are not finite; try another number of steps"
            )
        return pixels

    @torch.inference_mode()
    def generate(
        self,
        noise: torch.Tensor,
        generators: Sequence[torch.Generator],
        *,
        sampler: str,
        steps: int,
        eta: float = 0.0,
        start: Start | None = None,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """Denoise noise to new samples.

        With a start, the noise is added to its sample first, as much as the first step expects.
        Kept columns follow that sample at the noise level of each step, and at the end they are
        exactly that sample's.

        Args:
            noise: (clips, channels, height, width).
            generators: one per clip, for the noise of later steps (DDPM, or DDIM with eta).
            sampler: `ddpm` or `ddim`.
            steps: steps of a sample from noise alone.
            eta: DDIM's share of DDPM's noise per step, from 0 to 1.
            start: existing audio to start from.
            encodings: (clips, tokens, width), for a conditional UNet.
            progress: called with the steps done and their number.
        """
        scheduler = _SAMPLERS[sampler].from_config(self._scheduler.config)
        options = {"generator": list(generators)} | ({"eta": eta} if sampler == "ddim" else {})
        return self._denoised(scheduler, noise, steps, start, encodings, progress, options)

    @torch.inference_mode()
    def noise_from_sample(
        self,
        sample: torch.Tensor,
        *,
        steps: int,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """The noise that `sample_from_noise` makes into a sample: DDIM's steps backwards.

        A step from t - 1 to t needs the prediction for the sample at t, which isn't known. The
        usual approximation takes the one at t - 1. Here the result replaces that guess a few times
        (a fixed point; Pan et al. 2023, "Effective real image editing with accelerated iterative
        diffusion inversion").
        """
        scheduler = DDIMInverseScheduler.from_config(self._scheduler.config, **_REVERSIBLE)
        scheduler.set_timesteps(steps)
        sample = sample.to(self.device)
        for index, timestep in enumerate(scheduler.timesteps):
            estimate = sample
            for _ in range(_INVERSION_ROUNDS):
                prediction = self._prediction(estimate, timestep, encodings)
                estimate = scheduler.step(prediction, timestep, sample).prev_sample
            sample = estimate
            if progress is not None:
                progress(index + 1, steps)
        return sample

    @torch.inference_mode()
    def sample_from_noise(
        self,
        noise: torch.Tensor,
        *,
        steps: int,
        encodings: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> torch.Tensor:
        """The inverse of `noise_from_sample`, with as many steps. Nothing is drawn or clipped."""
        scheduler = DDIMScheduler.from_config(self._scheduler.config, **_REVERSIBLE)
        return self._denoised(scheduler, noise, steps, None, encodings, progress, {})

    def _denoised(
        self,
        scheduler: Any,
        noise: torch.Tensor,
        steps: int,
        start: Start | None,
        encodings: torch.Tensor | None,
        progress: Progress | None,
        options: dict[str, Any],
    ) -> torch.Tensor:
        noise = noise.to(self.device)
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps[0 if start is None else start.step :]
        sample = noise
        if start is not None:
            clean = start.clean.to(self.device).expand_as(noise)
            is_kept = start.is_kept.to(self.device)
            noisy = scheduler.add_noise(clean, noise, timesteps[:1])
            sample = noisy if start.step > 0 else torch.where(is_kept, noisy, noise)
        for index, timestep in enumerate(timesteps):
            prediction = self._prediction(sample, timestep, encodings)
            sample = scheduler.step(prediction, timestep, sample, **options).prev_sample
            if start is not None:
                following = timesteps[index + 1 : index + 2]
                known = (
                    clean if not len(following) else scheduler.add_noise(clean, noise, following)
                )
                sample = torch.where(is_kept, known, sample)
            if progress is not None:
                progress(index + 1, len(timesteps))
        return sample

    def _prediction(
        self, sample: torch.Tensor, timestep: torch.Tensor, encodings: torch.Tensor | None
    ) -> torch.Tensor:
        """The UNet's prediction in single precision."""
        inputs = sample.to(self._unet.dtype)
        if encodings is None:
            prediction: torch.Tensor = self._unet(inputs, timestep, return_dict=False)[0]
        else:
            states = encodings.to(inputs).expand(len(inputs), -1, -1)
            prediction = self._unet(inputs, timestep, states, return_dict=False)[0]
        return prediction.float()


_REVERSIBLE = {"clip_sample": False, "thresholding": False, "timestep_spacing": "leading"}
"""Settings of DDIM with which a step can be taken backwards."""
