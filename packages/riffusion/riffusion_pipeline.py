"""Upstream's name for the pipeline and its preprocessing."""

from riffusion.diffusion.upstream import RiffusionPipeline, preprocess_image, preprocess_mask

__all__ = ["RiffusionPipeline", "preprocess_image", "preprocess_mask"]
