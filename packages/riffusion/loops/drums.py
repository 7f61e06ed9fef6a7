"""Drums and cymbals: noise, pitch sweeps and inharmonic square waves.

All instruments, also the pitched ones, have the same arguments: frequency in Hz (drums ignore it),
duration in seconds, and a random generator for noise. They return a signal (samples,) with a peak
of about 1 that starts with the attack and may ring longer than the duration.
"""

import numpy as np

from riffusion.loops.oscillators import Signal, noise_band, partials, strike, times_s


def kick(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Bass drum: a sine that falls from 190 to 48 Hz, plus the click of the beater."""
    t = times_s(0.45)
    # phase = 2π ∫ (48 + 142·exp(-t/τ)) dt with τ = 35 ms
    phase = 2 * np.pi * (48 * t + 142 * 0.035 * (1 - np.exp(-t / 0.035)))
    click = strike(t, 1200, 5000, 0.004, rng)
    drum: Signal = np.sin(phase) * np.exp(-t / 0.11) + 0.12 * click
    return drum


def snare(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Snare drum: two modes of the head, plus the rattle of the wires."""
    t = times_s(0.4)
    head = partials(182, t, [(1, 0.5, 0.06), (1.81, 0.35, 0.04)])
    wires = noise_band(t.size, 900, 11_000, rng) * (
        0.22 * np.exp(-t / 0.075) + 0.16 * np.exp(-t / 0.012)
    )
    return head + wires


def closed_hat(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Closed hi-hat."""
    return _cymbal(0.035, 0.25, rng)


def open_hat(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Open hi-hat, which rings for about a beat."""
    return _cymbal(0.16, 0.9, rng)


def ride(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Ride cymbal: the ping of the stick, plus a noisy wash."""
    t = times_s(1.2)
    ping = partials(
        1, t, [(f, 0.09, 0.22) for f in (2310.0, 3170.0, 3980.0, 5240.0, 6410.0, 8120.0)]
    )
    wash = noise_band(t.size, 4500, 14_000, rng) * 0.11 * np.exp(-t / 0.28)
    stick = 0.22 * strike(t, 3000, 12_000, 0.006, rng)
    return ping + wash + stick


def shaker(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Shaker: noise with an attack of 15 ms, the time that the beads take to hit the wall."""
    t = times_s(0.2)
    swell = np.clip(t / 0.015, 0, 1) * np.exp(-np.clip(t - 0.015, 0, None) / 0.03)
    return noise_band(t.size, 3500, 10_000, rng) * 0.3 * swell


def wood_block(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Wood block: dry, with a pitch of about 900 Hz."""
    t = times_s(0.15)
    knock = 0.25 * strike(t, 800, 6000, 0.004, rng)
    return partials(905, t, [(1, 0.6, 0.022), (1.51, 0.35, 0.015), (2.6, 0.2, 0.008)]) + knock


def brush(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Brush on a snare drum: noise that starts softly."""
    t = times_s(0.3)
    swell = np.clip(t / 0.02, 0, 1) * np.exp(-np.clip(t - 0.02, 0, None) / 0.07)
    return noise_band(t.size, 700, 7000, rng) * 0.3 * swell


def clap(frequency_hz: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Hand claps: three bursts within 22 ms, then the decay of the room."""
    t = times_s(0.35)
    bursts = [np.exp(-np.clip(t - at, 0, None) / 0.006) * (t >= at) for at in (0, 0.011, 0.022)]
    tail = 0.6 * np.exp(-np.clip(t - 0.022, 0, None) / 0.06) * (t >= 0.022)
    claps: Signal = noise_band(t.size, 900, 6500, rng) * 0.3 * (np.sum(bursts, axis=0) + tail)
    return claps


def _cymbal(decay_s: float, duration_s: float, rng: np.random.Generator) -> Signal:
    """Noise above 5 kHz plus inharmonic square waves, which sound like a struck plate."""
    t = times_s(duration_s)
    plate = sum(np.sign(np.sin(2 * np.pi * f * t)) for f in (3170.0, 4210.0, 5390.0, 6730.0))
    noise = noise_band(t.size, 5000, 14_000, rng)
    hat: Signal = (0.2 * noise + 0.03 * plate) * np.exp(-t / decay_s)
    return hat
