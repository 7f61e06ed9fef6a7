"""The mel filterbank of power spectrograms: bands are weighted sums of squared magnitudes."""

from riffusion.spectrogram.inversion.filterbank import MelFilterbank
from riffusion.spectrogram.operations import Array

_SCALE = 1e4
"""Magnitudes are multiplied by it, so that the filterbank's epsilon of 1e-7 is 150 dB below the
loudest power; images of 80 dB or 120 dB need that."""


class PowerMelFilterbank(MelFilterbank):
    """As `MelFilterbank`, but mel = B · |short FFT|², as in librosa's mel spectrograms.

    The update of the powers P = A² is that of the magnitudes in `MelFilterbank`, with P in place of
    A. So a magnitude's gain is the square root of its power's gain.
    """

    def mel_from_magnitudes(self, magnitudes: Array) -> Array:
        """Mel powers of magnitudes: `(..., bins)` → `(..., bands)`."""
        return super().mel_from_magnitudes(magnitudes * magnitudes)

    def gains(self, magnitudes: Array, target: Array) -> Array:
        """Gains of magnitudes that bring their mel powers closer to `target`."""
        return super().gains(magnitudes * _SCALE, target * _SCALE**2) ** 0.5

    def magnitudes_from_mel(self, target: Array, num_updates: int) -> Array:
        """Non-negative magnitudes whose mel powers approximate `target`."""
        magnitudes = super().magnitudes_from_mel(target, 0) ** 0.5
        for _ in range(num_updates):
            magnitudes *= self.gains(magnitudes, target)
        return magnitudes
