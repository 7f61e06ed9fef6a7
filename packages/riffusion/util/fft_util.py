"""Upstream's name for `riffusion.audio.spectrum`."""

from riffusion.audio.spectrum import compute_fft, plot_ffts

__all__ = ["compute_fft", "plot_ffts"]
