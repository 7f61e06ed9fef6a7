"""Diffusion: from prompts, seeds and a picture to a picture."""

from riffusion.diffusion.pipeline import RiffusionPipeline

__all__ = ["RiffusionPipeline"]
