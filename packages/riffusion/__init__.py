"""Riffusion: text and pictures of sound in, music out."""

__version__ = "0.1.0"
