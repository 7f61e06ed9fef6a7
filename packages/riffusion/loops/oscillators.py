"""The few sources that all instruments are made of.

A plucked or bowed string, a reed and an analogue oscillator share one recipe: harmonics of a
fundamental whose strength falls with their number, and falls faster as the note dies away. With
brightness r < 1 the sum over all harmonics has a closed form, so a note costs two sines and one
arctangent per sample however bright it is:

    Σ_{k ≥ 1} (r^k / k) · sin(kθ) = arctan( r sin θ / (1 − r cos θ) )

which is a sawtooth through a filter (J. A. Moorer, "The synthesis of complex audio spectra by means
of discrete summation formulas", JAES 24, 1976). Letting r fall with time closes the filter.
"""

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 44100
"""Hz; the rate of every waveform in this package."""

Signal = npt.NDArray[np.float64]

_SILENCE = 1e-3
"""A decaying sound ends at -60 dB."""


def times_s(duration_s: float) -> Signal:
    """Sample times (samples,) from 0 to `duration_s` seconds."""
    return np.arange(max(1, round(duration_s * SAMPLE_RATE))) / SAMPLE_RATE


def ring_duration_s(decay_s: float) -> float:
    """Time until exp(-t / decay_s) is inaudible."""
    return decay_s * float(-np.log(_SILENCE))


def sawtooth(frequency_hz: float, t: Signal, cutoff_hz: Signal | float) -> Signal:
    """Filtered sawtooth (samples,): harmonic k has the amplitude exp(-k·f / cutoff_hz) / k.

    Args:
        frequency_hz: of the fundamental, below 5 kHz.
        t: sample times in seconds.
        cutoff_hz: where harmonics have lost a factor e; a constant or one value per sample. At
            most 6 kHz keeps aliases below -55 dB.
    """
    theta = 2 * np.pi * frequency_hz * t
    brightness = np.exp(-frequency_hz / cutoff_hz)
    saw: Signal = np.arctan2(brightness * np.sin(theta), 1 - brightness * np.cos(theta))
    return saw


def partials(frequency_hz: float, t: Signal, modes: list[tuple[float, float, float]]) -> Signal:
    """Struck bar (samples,): a sum of decaying sines.

    Args:
        frequency_hz: of the lowest mode.
        t: sample times in seconds.
        modes: (frequency ratio, amplitude, decay time in seconds). Modes over 18 kHz are left out.
    """
    total = np.zeros_like(t)
    for ratio, amplitude, decay_s in modes:
        if ratio * frequency_hz < 18_000:
            total += amplitude * np.exp(-t / decay_s) * np.sin(2 * np.pi * ratio * frequency_hz * t)
    return total


def noise_band(num_samples: int, low_hz: float, high_hz: float, rng: np.random.Generator) -> Signal:
    """Noise (samples,) of standard deviation 1 between two frequencies, with soft edges.

    The edges are 4th-order Butterworth magnitudes applied in the frequency domain, so the noise
    repeats without a seam after `num_samples`.
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
    """Noise (samples,) of a beater, a finger or a pick: a band of deviation 1 that decays."""
    burst = np.zeros_like(t)
    num_samples = min(t.size, round(ring_duration_s(decay_s) * SAMPLE_RATE))
    noise = noise_band(num_samples, low_hz, high_hz, rng)
    burst[:num_samples] = noise * np.exp(-t[:num_samples] / decay_s)
    return burst


def gate(t: Signal, attack_s: float, hold_s: float, release_s: float) -> Signal:
    """Envelope (samples,): raised-cosine attack, 1 until `hold_s`, exponential release."""
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(t / attack_s, 0, 1))
    fall = np.exp(-np.clip(t - hold_s, 0, None) / release_s)
    envelope: Signal = rise * fall
    return envelope
