"""Diffusion: from prompts, seeds and a picture to a picture."""

from riffusion.diffusion.engine import Engine, Ticket
from riffusion.diffusion.pipeline import RiffusionPipeline

__all__ = ["Engine", "RiffusionPipeline", "Ticket"]
