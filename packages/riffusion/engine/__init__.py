"""Continuous batching: many requests share the UNet calls of one pipeline."""

from riffusion.engine.engine import Engine
from riffusion.engine.request import RequestHandle

__all__ = ["Engine", "RequestHandle"]
