"""Diffusion: from prompts, seeds and an image to an image.

pipeline            `RiffusionPipeline`: a pipeline of diffusers; upstream's methods; warm-up
stages              prepare, step and decode, for networks of any library
preparation         from a request to a job
job                 the state of one image between UNet calls
batching            several jobs in one UNet call
schedulers          the schedulers that a request can name
samplers            DDIM, DPM-Solver++ and latent consistency, over arrays of any library
noise_schedule      how much of a clip is left at each timestep
stock_schedulers    the other schedulers, diffusers'
distilled_sampling  which requests are sampled with one row per step, and what they may ask for
guidance_embedding  the guidance scale as the UNet's input, for distilled checkpoints
inversion           the noise that gives latents, by DDIM inversion
canvas              latents of any width, which the UNet sees in windows
conditioning        prompts to embeddings
prompt_weights      the syntax of weights in prompts
interpolation       linear and spherical interpolation
geometry            sizes of images, and images and masks as arrays
vae                 images to latents and back, with a cache
networks            what the pipeline needs of networks; `torch_networks` are PyTorch's
random_numbers      the normal numbers of a seed, in NumPy; `torch_random` has PyTorch's
arrays              what NumPy and PyTorch name differently
upstream            upstream's functions

`RiffusionPipeline` is imported when it is first used: it needs diffusers and transformers, which
take seconds to import, and the smaller modules don't.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riffusion.diffusion.pipeline import RiffusionPipeline

__all__ = ["RiffusionPipeline"]


def __getattr__(name: str) -> Any:
    if name != "RiffusionPipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from riffusion.diffusion.pipeline import RiffusionPipeline

    return RiffusionPipeline
