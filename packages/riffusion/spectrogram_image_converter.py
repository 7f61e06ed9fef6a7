"""Upstream's name for `riffusion.spectrogram.image_converter`."""

from riffusion.spectrogram.image_converter import SpectrogramImageConverter

__all__ = ["SpectrogramImageConverter"]
