"""The basic signals that all instruments are built from.

A plucked or bowed string, a reed and an analogue oscillator have the same spectrum in principle:
harmonics whose amplitudes fall with their number, and fall faster as the note decays. With a
brightness r < 1 the sum over all harmonics has a closed form, so a note costs two sines and one
arctangent per sample, no matter how bright it is:

    Σ_{k ≥ 1} (r^k / k) · sin(kθ) = arctan( r sin θ / (1 − r cos θ) )

which is a filtered sawtooth (J. A. Moorer, "The synthesis of complex audio spectra by means of
discrete summation formulas", JAES 24, 1976). If r falls with time, the filter closes.
"""

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 44100
"""Sample rate in Hz of all signals in this package."""

Signal = npt.NDArray[np.float64]

_SILENCE = 1e-3
"""Amplitude at which a decaying signal ends: -60 dB."""


def times_s(duration_s: float) -> Signal:
    """Sample times (samples,) from 0 to `duration_s` seconds."""
    return np.arange(max(1, round(duration_s * SAMPLE_RATE))) / SAMPLE_RATE


def ring_duration_s(decay_s: float) -> float:
    """Time in seconds until exp(-t / decay_s) has fallen to -60 dB."""
    return decay_s * float(-np.log(_SILENCE))


def sawtooth(frequency_hz: float, t: Signal, cutoff_hz: Signal | float) -> Signal:
    """Filtered sawtooth (samples,): harmonic k has the amplitude exp(-k·f / cutoff_hz) / k.

    Args:
        frequency_hz: frequency f of the fundamental, below 5 kHz.
        t: sample times in seconds.
        cutoff_hz: frequency at which harmonics are weaker by a factor e, constant or one value per
            sample. Aliases stay below -55 dB up to 6 kHz.
    """
    theta = 2 * np.pi * frequency_hz * t
    brightness = np.exp(-frequency_hz / cutoff_hz)
    saw: Signal = np.arctan2(brightness * np.sin(theta), 1 - brightness * np.cos(theta))
    return saw


def partials(frequency_hz: float, t: Signal, modes: list[tuple[float, float, float]]) -> Signal:
    """Struck bar (samples,): a sum of decaying sines.

    Args:
        frequency_hz: frequency of the lowest mode.
        t: sample times in seconds.
        modes: (frequency ratio, amplitude, decay time in seconds). Modes above 18 kHz are omitted.
    """
    total = np.zeros_like(t)
    for ratio, amplitude, decay_s in modes:
        if ratio * frequency_hz < 18_000:
            total += amplitude * np.exp(-t / decay_s) * np.sin(2 * np.pi * ratio * frequency_hz * t)
    return total


def noise_band(num_samples: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> Signal:
    """Band-limited noise (samples,) with a standard deviation of 1.

    The band's edges are 4th-order Butterworth magnitudes in the frequency domain, so the noise can
    be repeated without a seam.
    """
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE)
    frequency[0] = frequency[1] if num_samples > 1 else 1.0
    high_pass = 1 / np.sqrt(1 + (low_hz / frequency) ** 8)
    low_pass = 1 / np.sqrt(1 + (frequency / high_hz) ** 8)
    band = np.fft.irfft(spectrum * high_pass * low_pass, num_samples)
    deviation = float(np.std(band))
    return band / deviation if deviation > 0 else band


def strike(
    t: Signal, low_hz: float, high_hz: float, decay_s: float, rng: np.random.Generator
) -> Signal:
    """Attack noise (samples,) of a beater, finger or pick: decaying band-limited noise.

    Its standard deviation is 1 before the decay.
    """
    burst = np.zeros_like(t)
    num_samples = min(t.size, round(ring_duration_s(decay_s) * SAMPLE_RATE))
    noise = noise_band(num_samples, low_hz, high_hz, rng)
    burst[:num_samples] = noise * np.exp(-t[:num_samples] / decay_s)
    return burst


def gate(t: Signal, attack_s: float, hold_s: float, release_s: float) -> Signal:
    """Envelope (samples,): raised-cosine attack, 1 until `hold_s`, then exponential release."""
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(t / attack_s, 0, 1))
    fall = np.exp(-np.clip(t - hold_s, 0, None) / release_s)
    envelope: Signal = rise * fall
    return envelope
