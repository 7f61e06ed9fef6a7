"""Clicks at a steady tempo."""

import numpy as np

RATE = 22050


def clicks(tempo_bpm: float, offset_s: float, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Short decaying tones (1, samples), and their start times in seconds."""
    times = np.arange(offset_s, duration_s - 0.1, 60 / tempo_bpm)
    wave = np.zeros(round(duration_s * RATE), np.float32)
    t = np.arange(round(0.05 * RATE)) / RATE
    click = 0.8 * np.exp(-t / 0.01) * np.sin(2 * np.pi * 1500 * t)
    for time_s in times:
        wave[round(time_s * RATE) :][: len(click)] += click[: len(wave) - round(time_s * RATE)]
    return wave[None], times
