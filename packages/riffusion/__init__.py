"""Riffusion: text and images of sound in, music out."""

__version__ = "0.1.0"
