"""When notes start, to a few milliseconds: sudden increases of energy, in frames of 2.5 ms.

The windows of spectral flux are long (46 ms), so that it shows what an onset is, and shows it up to
23 ms early. The energy of short frames shows when it is.
"""

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.loops.oscillators import Signal

STEP_S = 0.0025
_LOOKBACK = 6
"""Frames before an attack, 15 ms, whose loudest is what it rises above: low notes ripple."""
_FLOOR = 1e-4
"""Energy relative to the loudest frame; what rises from below it rises from the floor."""


class AttackFrames:
    """Energies of short frames, of audio that arrives in blocks.

    The energy of the signal shows low notes, that of its derivative high ones.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._hop = max(1, round(STEP_S * sample_rate))
        self.step_s = self._hop / sample_rate
        """Actual length of a frame in seconds; frame n begins at n times that."""
        self._parts: list[npt.NDArray[np.float32]] = []
        self._waiting: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._last = np.float32(0)

    def push(self, block: Waveform) -> None:
        """Add the next samples: (channels, samples), mixed to mono."""
        mono = np.concatenate([self._waiting, block.mean(axis=0, dtype=np.float32)])
        count = mono.size // self._hop
        whole = mono[: count * self._hop]
        change = np.diff(whole, prepend=self._last)
        if count:
            energies = [
                np.square(signal.reshape(count, self._hop)).mean(axis=1)
                for signal in (whole, change)
            ]
            self._parts.append(np.stack(energies))
            self._last = whole[-1]
        self._waiting = mono[whole.size :]

    def finish(self) -> Signal:
        """How much louder each frame is than those before it: (frames,), 0 or more."""
        if not self._parts:
            return np.zeros(1)
        energies = np.concatenate(self._parts, axis=1)
        rise = np.zeros(energies.shape[1])
        for energy in energies:
            level = np.log10(energy / max(float(energy.max()), 1e-20) + _FLOOR)
            padded = np.pad(level, (_LOOKBACK, 0), constant_values=np.log10(_FLOOR))
            before = np.max(
                np.lib.stride_tricks.sliding_window_view(padded, _LOOKBACK)[:-1], axis=1
            )
            rise += np.maximum(level - before, 0)
        return rise
