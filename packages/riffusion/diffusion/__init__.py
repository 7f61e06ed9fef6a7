"""Diffusion: from prompts, seeds and a picture to a picture."""

from riffusion.diffusion.engine import Engine
from riffusion.diffusion.pipeline import RiffusionPipeline
from riffusion.diffusion.ticket import Ticket

__all__ = ["Engine", "RiffusionPipeline", "Ticket"]
