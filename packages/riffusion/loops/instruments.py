"""Pitched instruments. Arguments and result are described in `drums`."""

import numpy as np

from riffusion.loops.oscillators import (
    Signal,
    gate,
    partials,
    ring_duration_s,
    sawtooth,
    strike,
    times_s,
)


def synth_bass(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Analogue bass: a sawtooth whose filter closes within a tenth of a second, plus a sine."""
    t = times_s(duration_s + 0.25)
    cutoff_hz = 320 + 1600 * np.exp(-t / 0.09)
    tone = 0.7 * sawtooth(frequency_hz, t, cutoff_hz) + 0.6 * np.sin(2 * np.pi * frequency_hz * t)
    bass: Signal = tone * gate(t, 0.004, duration_s, 0.04) * np.exp(-t / 1.2)
    return bass


def upright_bass(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Plucked double bass: a dark string, plus the noise of the finger that releases it."""
    t = times_s(min(duration_s + 0.4, 2.0))
    cutoff_hz = 200 + 900 * np.exp(-t / 0.12)
    finger = 0.06 * strike(t, 300, 2500, 0.008, rng)
    string = sawtooth(frequency_hz, t, cutoff_hz) + 0.5 * np.sin(2 * np.pi * frequency_hz * t)
    return (string * np.exp(-t / 0.55) + finger) * gate(t, 0.003, duration_s, 0.07)


def pluck(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Steel string: bright at the attack; higher harmonics decay faster."""
    decay_s = 0.9 * (220 / frequency_hz) ** 0.5
    t = times_s(min(ring_duration_s(decay_s), duration_s + 0.5))
    cutoff_hz = 800 + 4200 * np.exp(-t / 0.1)
    pick = 0.08 * strike(t, 2000, 9000, 0.003, rng)
    string = sawtooth(frequency_hz, t, cutoff_hz) * np.exp(-t / decay_s)
    tone: Signal = (string + pick) * gate(t, 0.001, duration_s, 0.12)
    return tone


def marimba(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Marimba bar: modes tuned 1 : 4 : 9.9, of which the upper ones are very short.

    Ratios and decay times after N. H. Fletcher and T. D. Rossing, "The Physics of Musical
    Instruments", chapter 19.
    """
    decay_s = 0.34 * (262 / frequency_hz) ** 0.6
    t = times_s(ring_duration_s(decay_s))
    bar = partials(
        frequency_hz, t, [(1, 0.8, decay_s), (4, 0.3, 0.25 * decay_s), (9.9, 0.16, 0.09 * decay_s)]
    )
    mallet = 0.14 * strike(t, 400, 5000, 0.005, rng)
    return bar + mallet


def vibraphone(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Vibraphone bar with the motor on: long modes 1 : 4 : 10, with a tremolo of 5.3 Hz."""
    t = times_s(duration_s + 0.7)
    bar = partials(frequency_hz, t, [(1, 0.8, 1.6), (4, 0.2, 0.7), (10, 0.09, 0.25)])
    tremolo = 1 - 0.22 * (1 - np.cos(2 * np.pi * 5.3 * t)) / 2
    mallet = 0.06 * strike(t, 1000, 7000, 0.004, rng)
    return (bar * tremolo + mallet) * gate(t, 0.001, duration_s, 0.18)


def electric_piano(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Electric piano by frequency modulation: a 1:1 pair for the body, a 14:1 pair for the tine.

    After J. M. Chowning, "The synthesis of complex audio spectra by means of frequency
    modulation", JAES 21, 1973.
    """
    t = times_s(duration_s + 0.5)
    theta = 2 * np.pi * frequency_hz * t
    body = np.sin(theta + (0.25 + 1.1 * np.exp(-t / 0.25)) * np.sin(theta))
    tine = np.sin(theta + 0.9 * np.exp(-t / 0.05) * np.sin(14 * theta)) - np.sin(theta)
    piano: Signal = (0.8 * body * np.exp(-t / 0.9) + 0.25 * tine) * gate(t, 0.002, duration_s, 0.1)
    return piano


def synth_lead(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Two sawtooths 8 cents apart through a filter that opens and closes with each note."""
    t = times_s(duration_s + 0.3)
    cutoff_hz = 1100 + 3200 * np.exp(-t / 0.16)
    tone = sawtooth(frequency_hz, t, cutoff_hz) + sawtooth(frequency_hz * 1.0046, t, cutoff_hz)
    return 0.5 * tone * gate(t, 0.005, duration_s, 0.06)


def pad(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Pad: three dark sawtooths around the pitch with random phases and a slow attack."""
    t = times_s(duration_s + 1.0)
    tone = np.zeros_like(t)
    for cents in (-7, 0, 6):
        detuned_hz = frequency_hz * 2 ** (cents / 1200)
        tone += sawtooth(detuned_hz, t + rng.random() / detuned_hz, 1500.0)
    return 0.3 * tone * gate(t, 0.12, duration_s, 0.2)
