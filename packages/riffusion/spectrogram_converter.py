"""Upstream's name for `riffusion.spectrogram.converter`."""

from riffusion.spectrogram.converter import SpectrogramConverter

__all__ = ["SpectrogramConverter"]
