"""Diffusion: from prompts, seeds and an image to an image."""

from riffusion.diffusion.pipeline import RiffusionPipeline

__all__ = ["RiffusionPipeline"]
