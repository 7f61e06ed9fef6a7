"""Riffusion: from text and spectrogram images to music."""

__version__ = "0.1.0"
