"""Whether a melodic sound's partials belong together: at whole multiples of one pitch.

The pitch is tracked by pYIN (M. Mauch and S. Dixon, "pYIN: A fundamental frequency estimator using
probabilistic threshold distributions", ICASSP 2014), as librosa implements it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio import Waveform, resample
from riffusion.audio.compiled_librosa import load_librosa

_SAMPLE_RATE_HZ = 22_050
_HOP_SAMPLES = 512
_FFT_SAMPLES = 4096
_LOWEST_HZ, _HIGHEST_HZ = 65.4, 2093.0
"""Pitches from C2 to C7."""
_RESOLUTION_SEMITONES = 0.2
"""Step between the tracker's pitches. Half of that takes five times as long, and changes the mean
share of eight clips by at most 0.01."""
_MAX_PARTIAL_HZ = 8000.0
_HALF_WIDTH_CENTS = 35.0
_HALF_WIDTH_BINS = 2.0
"""Half the main lobe of a Hann window."""
_AUDIBLE = 10 ** (-40 / 10)
"""Power of the quietest frame that counts, over that of the loudest."""

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Harmonicity:
    """How harmonic a sound is.

    Args:
        share: share of the energy of frames with a pitch, from half the lowest pitch to 8 kHz, that
            is near multiples of that pitch, from 0 to 1; 0 if no frame has one.
        certainty: mean probability that the tracker gives to there being a pitch, from 0 to 1.
    """

    share: float
    certainty: float


def measure_harmonicity(waveform: Waveform, sample_rate: int) -> Harmonicity:
    """Harmonicity of a clip with one melodic voice.

    Args:
        waveform: (channels, samples).
        sample_rate: in Hz.

    Raises:
        InputError: librosa isn't installed.
    """
    librosa = load_librosa()
    mono = resample(waveform.mean(0, keepdims=True), sample_rate, _SAMPLE_RATE_HZ)[0]
    pitches, _, probabilities = librosa.pyin(
        mono,
        fmin=_LOWEST_HZ,
        fmax=_HIGHEST_HZ,
        sr=_SAMPLE_RATE_HZ,
        frame_length=2048,
        hop_length=_HOP_SAMPLES,
        resolution=_RESOLUTION_SEMITONES,
    )
    spectrum = librosa.stft(mono, n_fft=_FFT_SAMPLES, hop_length=_HOP_SAMPLES)
    power = (np.abs(spectrum) ** 2).T.astype(np.float64)  # (frames, bins)
    frequencies = np.fft.rfftfreq(_FFT_SAMPLES, 1 / _SAMPLE_RATE_HZ)
    in_range = (frequencies >= _LOWEST_HZ / 2) & (frequencies <= _MAX_PARTIAL_HZ)
    power, frequencies = power[:, in_range], frequencies[in_range]
    energy = power.sum(1)
    audible = energy > _AUDIBLE * max(energy.max(), 1e-20)
    if not audible.any():
        return Harmonicity(0.0, 0.0)
    pitched = audible & np.isfinite(pitches)
    near = _near_partials(frequencies, pitches[pitched])
    harmonic = float((power[pitched] * near).sum())
    total = float(energy[pitched].sum())
    return Harmonicity(
        share=harmonic / total if total > 0 else 0.0,
        certainty=float(probabilities[audible].mean()),
    )


def _near_partials(frequencies: FloatArray, pitches: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each bin lies near a multiple of each frame's pitch: (frames, bins)."""
    partials = np.maximum(1, np.round(frequencies[None] / pitches[:, None])) * pitches[:, None]
    bin_hz = frequencies[1] - frequencies[0]
    half_width = np.maximum(
        partials * (2 ** (_HALF_WIDTH_CENTS / 1200) - 1), _HALF_WIDTH_BINS * bin_hz
    )
    half_width = np.minimum(half_width, pitches[:, None] / 4)  # at most half of all bins count
    near: npt.NDArray[np.bool_] = np.abs(frequencies[None] - partials) <= half_width
    return near
