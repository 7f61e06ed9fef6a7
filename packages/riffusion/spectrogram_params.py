"""Upstream's name for `riffusion.spectrogram.params`."""

from riffusion.spectrogram.params import SpectrogramParams

__all__ = ["SpectrogramParams"]
