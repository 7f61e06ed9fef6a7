"""Known signals, (channels, samples) float32, and measures to compare two of them."""

import numpy as np
import numpy.typing as npt
from scipy.signal import correlate

Signal = npt.NDArray[np.float32]


def chord(num_samples: int, sample_rate: int, channels: int = 1, peak: float = 0.5) -> Signal:
    """Four partials below 3 kHz with a slow swell; every channel has its own phases."""
    time = np.arange(num_samples) / sample_rate
    phases = np.arange(channels)[:, None]
    partials = [np.sin(2 * np.pi * hz * time + phases) for hz in (220.0, 440.0, 997.0, 2500.0)]
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 1.3 * time)
    return (peak / 4 * sum(partials) * swell).astype(np.float32)


def sine(hz: float, amplitude: float, duration_s: float, sample_rate: int) -> Signal:
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * hz * time)).astype(np.float32)[None]


def noise(num_samples: int, channels: int = 1, rms: float = 0.1, seed: int = 0) -> Signal:
    generator = np.random.default_rng(seed)
    return (rms * generator.standard_normal((channels, num_samples))).astype(np.float32)


def drums(duration_s: float, sample_rate: int, decay_s: float = 0.08) -> Signal:
    """Kicks at 60 Hz on the beat and bursts of noise off it: high peaks, little loudness."""
    generator = np.random.default_rng(0)
    length = round(duration_s * sample_rate)
    signal = np.zeros(length)
    time = np.arange(sample_rate // 4) / sample_rate
    kick = np.exp(-time / decay_s) * np.sin(2 * np.pi * 60 * time)
    hat = 0.5 * np.exp(-4 * time / decay_s) * generator.standard_normal(time.size)
    for start in range(0, length, sample_rate // 2):
        for offset, hit in ((0, kick), (sample_rate // 4, hat)):
            part = signal[start + offset : start + offset + time.size]
            part += hit[: part.size]
    return (0.9 * signal / np.abs(signal).max()).astype(np.float32)[None]


def snr_db(reference: Signal, result: Signal) -> float:
    """Signal-to-noise ratio in dB; inf if equal."""
    error = np.sum((result.astype(np.float64) - reference) ** 2)
    energy = np.sum(reference.astype(np.float64) ** 2)
    return float(10 * np.log10(energy / error)) if error else float("inf")


def offset_of(reference: Signal, result: Signal) -> int:
    """Samples by which the first channel of `result` lags behind, by cross-correlation."""
    correlation = correlate(result[0], reference[0], method="fft")
    return int(np.argmax(correlation)) - (reference.shape[1] - 1)
