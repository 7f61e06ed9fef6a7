"""Synthetic test signals: short clips that stress different parts of the mel inversion.

Each is mono float32 in [-1, 1], shape `(samples,)`, and equal on every call.
"""

from collections.abc import Callable

import torch

Waveform = torch.Tensor

TAU = 2 * torch.pi


def chord_loop(sample_rate: int, duration_s: float) -> Waveform:
    """Plucked three-note chords with decaying harmonics: steady partials, sharp onsets."""
    time_s = _time_s(sample_rate, duration_s)
    chords_hz = ((220.0, 277.18, 329.63), (185.0, 220.0, 277.18), (146.83, 220.0, 293.66))
    step_s = 0.64
    out = torch.zeros_like(time_s)
    for index in range(int(duration_s / step_s) + 1):
        for note_hz in chords_hz[index % len(chords_hz)]:
            out += _pluck(time_s - index * step_s, note_hz, decay_s=0.5)
    return _normalised(out)


def drums(sample_rate: int, duration_s: float) -> Waveform:
    """Kick, snare and hi-hat at 120 beats per minute: sweeps, noise bursts, and silence."""
    time_s = _time_s(sample_rate, duration_s)
    noise = _noise(time_s.shape[0])
    bright = torch.diff(noise, prepend=noise[:1])
    out = torch.zeros_like(time_s)
    for eighth in range(int(duration_s / 0.25) + 1):
        since = time_s - eighth * 0.25
        sounding = since >= 0
        since = since.clamp(min=0)
        hat = 0.2 * bright * torch.exp(-since / 0.03)
        if eighth % 4 == 0:
            phase = TAU * (50 * since + 6 * (1 - torch.exp(-since / 0.03)))
            hat = hat + torch.sin(phase) * torch.exp(-since / 0.15)
        elif eighth % 4 == 2:
            body = torch.sin(TAU * 190 * since) * torch.exp(-since / 0.05)
            hat = hat + 0.5 * body + 0.35 * noise * torch.exp(-since / 0.09)
        out += hat * sounding
    return _normalised(out)


def voice(sample_rate: int, duration_s: float) -> Waveform:
    """A sung melody: glottal harmonics with vibrato and glides, filtered by moving formants."""
    time_s = _time_s(sample_rate, duration_s)
    glide = torch.sin(TAU * 0.35 * time_s)
    pitch_hz = 210 * 2 ** (0.25 * glide + 0.03 * torch.sin(TAU * 5.5 * time_s))
    phase = TAU * torch.cumsum(pitch_hz.double(), 0) / sample_rate
    vowel = 0.5 + 0.5 * torch.sin(TAU * 0.8 * time_s)
    formants = ((400 + 400 * vowel, 90), (2000 - 800 * vowel, 120), (2700 + 0 * vowel, 160))
    out = torch.zeros_like(time_s)
    for harmonic in range(1, 40):
        frequency_hz = harmonic * pitch_hz
        gain = torch.zeros_like(time_s)
        for center_hz, bandwidth_hz in formants:
            gain += 1 / (1 + ((frequency_hz - center_hz) / bandwidth_hz) ** 2)
        gain *= frequency_hz < 0.45 * sample_rate
        out += gain / harmonic**0.5 * torch.sin(harmonic * phase).float()
    loudness = 0.55 + 0.45 * torch.sin(TAU * 0.6 * time_s - 1)
    breath = 0.003 * _noise(time_s.shape[0])
    return _normalised(out * loudness) + breath


def band(sample_rate: int, duration_s: float) -> Waveform:
    """Chords, drums, voice and a bass together: a dense mixture like most songs."""
    time_s = _time_s(sample_rate, duration_s)
    bass = torch.zeros_like(time_s)
    for index in range(int(duration_s / 0.5) + 1):
        bass += _pluck(time_s - index * 0.5, (55.0, 46.25, 73.42)[index % 3], decay_s=0.4)
    mixture = (
        0.6 * chord_loop(sample_rate, duration_s)
        + 0.8 * drums(sample_rate, duration_s)
        + 0.5 * voice(sample_rate, duration_s)
        + 0.6 * _normalised(bass)
    )
    return _normalised(mixture)


SIGNALS: dict[str, Callable[[int, float], Waveform]] = {
    "chord loop": chord_loop,
    "drums": drums,
    "voice-like tone": voice,
    "band": band,
}


def _time_s(sample_rate: int, duration_s: float) -> torch.Tensor:
    return torch.arange(round(sample_rate * duration_s), dtype=torch.float32) / sample_rate


def _noise(num_samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_samples, generator=generator)


def _pluck(since_s: torch.Tensor, note_hz: float, decay_s: float) -> torch.Tensor:
    """A plucked string: twelve harmonics, higher ones weaker and shorter; silent before time 0."""
    sounding = since_s >= 0
    since_s = since_s.clamp(min=0)
    out = torch.zeros_like(since_s)
    for harmonic in range(1, 13):
        envelope = torch.exp(-since_s * harmonic**0.7 / decay_s) / harmonic**1.3
        out += envelope * torch.sin(TAU * note_hz * harmonic * since_s + harmonic)
    return out * sounding


def _normalised(waveform: torch.Tensor) -> torch.Tensor:
    return 0.9 * waveform / waveform.abs().max()
