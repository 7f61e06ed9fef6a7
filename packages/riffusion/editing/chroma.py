"""Pitch classes over time, from audio that arrives in blocks.

The strongest partials of each frame add to their pitch classes. Only peaks of the spectrum count,
with interpolated frequencies, and only those as narrow as steady tones: drums and noise have few of
them. The classes are a third of a semitone wide, so that the tuning of the recording can be told
before they become twelve. (Peaks and thirds of semitones after E. Gómez, "Tonal description of
music audio signals", PhD thesis, UPF Barcelona 2006, chapter 3.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy
from numpy.lib.stride_tricks import sliding_window_view

from riffusion.audio.waveform import Waveform

Classes = npt.NDArray[np.float32]
"""(classes, frames)."""

_WINDOW_S = 0.37
_STEP_S = 0.06
_LOW_HZ, _BASS_HZ, _HIGH_HZ = 38.0, 170.0, 2100.0
_PER_SEMITONE = 3
_A4_HZ = 440.0
_A_CLASS = 9
_MIN_PEAK = 0.02
"""Weakest partial that counts, relative to the strongest of its frame."""
_MIN_SHARPNESS = 4.0
"""Least ratio of a partial to the mean of the bins three and four beside it, where a steady tone
has nearly nothing."""
_LOBE = 1.5
"""Energy of a steady tone in all bins, relative to its largest bin."""
_POWER = 0.5
_FRAMES_PER_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Chromagram:
    """Pitch classes over time.

    Args:
        classes: (12, frames), from C to B, in the recording's own tuning: the sum of the square
            roots of the partials' magnitudes.
        bass: the same of partials below 170 Hz alone.
        step_s: time from frame to frame; frame n is centred at n times that.
        tuning_semitones: how much higher than 440 Hz the recording's A is, from -0.5 to 0.5.
        tonal_share: share of the energy that is in steady tones, from 0 to about 1.
    """

    classes: Classes
    bass: Classes
    step_s: float
    tuning_semitones: float
    tonal_share: float


class ChromaFrames:
    """Collects the pitch classes of audio that arrives in blocks.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._n_fft = scipy.fft.next_fast_len(round(_WINDOW_S * sample_rate / 2), real=True) * 2
        self._hop = max(1, round(_STEP_S * sample_rate))
        self._window = np.hanning(self._n_fft + 1)[:-1].astype(np.float32)
        hz = np.arange(self._n_fft // 2 + 1) * (sample_rate / self._n_fft)
        self._bin_hz = hz[1]
        self._low = max(4, int(np.searchsorted(hz, _LOW_HZ)))
        self._high = min(hz.size - 5, int(np.searchsorted(hz, _HIGH_HZ)))
        self._step_s = self._hop / sample_rate
        self._waiting = np.zeros(self._n_fft // 2, np.float32)
        self._parts: list[Classes] = []
        self._tonal = self._total = 0.0
        self._pitches = 0j

    def push(self, block: Waveform) -> None:
        """Add the next samples: (channels, samples), mixed to mono."""
        mono = np.concatenate([self._waiting, block.mean(axis=0, dtype=np.float32)])
        count = max(0, (mono.size - self._n_fft) // self._hop + 1)
        if count:
            self._add(sliding_window_view(mono, self._n_fft)[:: self._hop][:count])
        self._waiting = mono[count * self._hop :].copy()

    def finish(self) -> Chromagram:
        """The pitch classes of all frames."""
        self.push(np.zeros((1, self._n_fft // 2), np.float32))
        fine = np.concatenate([np.zeros((72, 1), np.float32), *self._parts], axis=1)[:, 1:]
        tuning = float(np.angle(self._pitches)) / (2 * np.pi)
        shift = -round(tuning * _PER_SEMITONE)  # moves each pitch to the middle of three
        folded = [
            np.roll(part, shift, axis=0).reshape(12, _PER_SEMITONE, -1).sum(axis=1)
            for part in (fine[:36] + fine[36:], fine[36:])
        ]
        return Chromagram(
            folded[0], folded[1], self._step_s, tuning, self._tonal / max(self._total, 1e-12)
        )

    def _add(self, frames: npt.NDArray[np.float32]) -> None:
        for first in range(0, len(frames), _FRAMES_PER_BLOCK):
            spectrum = scipy.fft.rfft(frames[first : first + _FRAMES_PER_BLOCK] * self._window)
            magnitudes = np.abs(spectrum[:, self._low - 4 : self._high + 5])
            self._parts.append(self._classes(magnitudes))

    def _classes(self, magnitudes: npt.NDArray[np.float32]) -> Classes:
        """Thirds of semitones (72, frames): 36 of the middle, then 36 of the bass."""
        left, middle, right = magnitudes[:, 3:-5], magnitudes[:, 4:-4], magnitudes[:, 5:-3]
        around = sum(magnitudes[:, at : at + middle.shape[1]] for at in (0, 1, 7, 8))
        threshold = _MIN_PEAK * middle.max(axis=1, keepdims=True) + 1e-9
        is_peak = (middle > left) & (middle >= right) & (middle > threshold)
        frame, bin_ = np.nonzero(is_peak & (middle > _MIN_SHARPNESS / 4 * around))
        a, b, c = (np.log(part[frame, bin_] + 1e-12) for part in (left, middle, right))
        offset = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
        hz = (bin_ + self._low + np.clip(offset, -0.5, 0.5)) * self._bin_hz
        pitch = 12 * np.log2(hz / _A4_HZ) + _A_CLASS
        third = np.floor((pitch + 0.5) * _PER_SEMITONE).astype(int) % 36
        third += 36 * (hz < _BASS_HZ)
        weights = middle[frame, bin_] ** _POWER
        self._tonal += float(np.square(middle[frame, bin_]).sum()) * _LOBE
        self._total += float(np.square(middle).sum())
        self._pitches += complex(np.sum(weights * np.exp(2j * np.pi * pitch)))
        flat = np.bincount(frame * 72 + third, weights, minlength=len(magnitudes) * 72)
        return flat.reshape(-1, 72).T.astype(np.float32)
