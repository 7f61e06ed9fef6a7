"""Upstream's name for `riffusion.diffusion.upstream`."""

from riffusion.diffusion.upstream import RiffusionPipeline, preprocess_image, preprocess_mask

__all__ = ["RiffusionPipeline", "preprocess_image", "preprocess_mask"]
