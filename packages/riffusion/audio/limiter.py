"""A look-ahead limiter, whose gains are computed in steps of about a tenth of a millisecond."""

import math

import numpy as np
import numpy.typing as npt

from riffusion.audio.convolution import convolved
from riffusion.audio.loudness_meter import ABSOLUTE_GATE_LUFS, gated_loudness
from riffusion.audio.waveform import Waveform

Signal = npt.NDArray[np.float64]

_STEPS_PER_S = 10_000
"""Fewest steps per second, at rates that have as many samples. Gains are linear between two edges.
One gain per sample takes five times as long; with it, a clip of techno differed by -68 dB."""
_MAX_REDUCTION_DB = 12.0
"""Largest gain reduction; more would be audible."""
_ATTACK_S = 0.005
"""The gain falls over this time before a peak, and starts to rise this long after it."""
_RELEASES_DB_PER_S = (40.0, 160.0, 640.0)
"""Speeds at which the gain recovers after a peak; the first that reaches the target is used.
40 dB/s, which is 0.4 dB in half a cycle of 50 Hz, doesn't distort bass; the others are for drums in
silence."""
_GATE_BELOW_TARGET_LU = 20.0
"""Largest distance from the target to the absolute gate. It is more than the largest reduction, so
near the meter's own gate, too, some sound is above it."""
_TOLERANCE_LU = 0.01
_MAX_ROUNDS = 12
_SMALLEST = 1e-12
_NEPERS_PER_DB = math.log(10) / 20


class Limiter:
    """Finds gains that bring a clip to a loudness, its peaks at or under a ceiling.

    The clip is divided into steps, and has a gain at each edge of a step. Both edges of a step have
    a gain that is low enough for the step's highest peak, so the gains between them are, too.

    The limiter lowers the loudness, so the gain before it is raised until the target is met. The
    loudness after it is predicted, for drums to about 0.1 LU: gains change slowly, so they may
    nearly as well be applied after the meter's weighting as before.

    Args:
        peaks: largest magnitudes around each sample, (samples,).
        powers: weighted powers of the meter, (n,) of the same time, n at least the samples.
        sample_rate: of the peaks, in Hz.
        ceiling_db: highest peak of the result.
        circular: whether the clip is a loop; gains at its end are then those at its start.
    """

    def __init__(
        self, peaks: Signal, powers: Signal, sample_rate: int, ceiling_db: float, circular: bool
    ) -> None:
        self._step = max(1, sample_rate // _STEPS_PER_S)
        self._rate = sample_rate / self._step
        self._circular = circular
        self._half = max(1, round(_ATTACK_S * self._rate))
        starts = np.arange(0, len(peaks), self._step)
        highest = np.maximum(np.maximum.reduceat(peaks, starts), _SMALLEST)
        self._excess_db = 20 * np.log10(highest) - ceiling_db
        parts = starts * len(powers) // len(peaks)
        self._powers = np.add.reduceat(powers, parts) / np.diff(parts, append=len(powers))

    def gains(self, target_lufs: float) -> tuple[Signal, bool]:
        """Gains at the edges of all steps, (steps + 1,), and whether they reach the target.

        All are 1 if the clip is below the meter's gate.

        Args:
            target_lufs: the loudness that the meter would show, but for the prediction's error.
        """
        as_given = np.ones(len(self._powers) + 1)
        loudness = self._loudness(as_given, target_lufs)
        if loudness == -math.inf:
            return as_given, False
        lowest_db = target_lufs - loudness
        highest_db = _MAX_REDUCTION_DB - float(self._excess_db.max())
        if lowest_db < highest_db:
            for release in _RELEASES_DB_PER_S:
                gains = self._gains_between(lowest_db, highest_db, release, target_lufs)
                if gains is not None:
                    return gains, True
        return self._limited_gains(highest_db, _RELEASES_DB_PER_S[-1]), False

    def _gains_between(
        self, lowest_db: float, highest_db: float, release: float, target_lufs: float
    ) -> Signal | None:
        """Gains that reach the target with a gain before the limiter between two, or None.

        The louder a clip before a limiter, the louder it is after it, but for blocks that come
        above a gate. So the gain is found by false position, where an end that stays counts half
        (the Illinois algorithm: Dowell and Jarratt, "A modified regula falsi method for computing
        the root of an equation", 1971).
        """

        def tried(gain_db: float) -> tuple[Signal, float]:
            gains = self._limited_gains(gain_db, release)
            return gains, target_lufs - self._loudness(gains, target_lufs)

        low, high = lowest_db, highest_db
        gains, low_lu = tried(low)
        if low_lu < _TOLERANCE_LU:
            return gains
        gains, high_lu = tried(high)
        if high_lu > 0:
            return None
        last_lu = 0.0
        for _ in range(_MAX_ROUNDS):
            gain_db = low + (high - low) * low_lu / (low_lu - high_lu)
            gains, missing_lu = tried(gain_db)
            if abs(missing_lu) < _TOLERANCE_LU:
                break
            stays = missing_lu * last_lu > 0
            if missing_lu > 0:
                low, low_lu = gain_db, missing_lu
                high_lu /= 1 + stays
            else:
                high, high_lu = gain_db, missing_lu
                low_lu /= 1 + stays
            last_lu = missing_lu
        return gains

    def _limited_gains(self, gain_db: float, release: float) -> Signal:
        """Gains at the edges of all steps: a constant one, less the reduction."""
        change_db = gain_db - self._reduction(self._excess_db + gain_db, release)
        return np.asarray(np.exp(_NEPERS_PER_DB * change_db))

    def applied(self, gains: Signal, waveform: Waveform) -> Waveform:
        """The clip, (channels, samples), with the gains of `gains`: as many float32."""
        num_samples = waveform.shape[1]
        last = (num_samples - 1) // self._step * self._step  # where the last step starts
        ramp = np.arange(self._step, dtype=np.float32) / self._step
        at_edges = gains.astype(np.float32)
        factors = np.multiply.outer(np.diff(at_edges), ramp)
        factors += at_edges[:-1, None]
        whole = factors[:-1].reshape(-1)
        before, after = at_edges[-2:]
        rest = np.linspace(before, after, num_samples - last, endpoint=False, dtype=np.float32)
        return np.asarray(waveform * np.concatenate([whole, rest]), np.float32)

    def _loudness(self, gains: Signal, target_lufs: float) -> float:
        """Predicted loudness in LUFS with gains at the edges of all steps."""
        early, late = gains[:-1], gains[1:]
        squares = (early * early + early * late + late * late) / 3  # their mean along a line
        gate_lufs = min(ABSOLUTE_GATE_LUFS, target_lufs - _GATE_BELOW_TARGET_LU)
        return gated_loudness(squares * self._powers, self._rate, gate_lufs)

    def _reduction(self, over_db: Signal, release_db_per_s: float) -> Signal:
        """A smooth gain reduction in dB at the edges of all steps, (steps + 1,).

        It is at least `over_db`, (steps,), at both edges of a step. Three parts keep that bound.
        Release: a running maximum that falls with a constant slope. Look-ahead: the maximum over
        one attack time on either side. Smoothing: a weighted mean over the edges around, all of
        whose maxima include the steps on both sides of the middle.
        """
        over_db = np.maximum(over_db, 0.0)
        if not over_db.any():
            return np.zeros(len(over_db) + 1)
        slope = release_db_per_s / self._rate * np.arange(1, over_db.size + 1)
        held = np.maximum.accumulate(over_db + slope) - slope
        if self._circular:  # the reduction at the end is still there when the loop starts again
            held = np.maximum(held, held[-1] - slope)
        half = self._half
        around = np.pad(held, half, mode="wrap" if self._circular else "constant")
        ahead = running_maximum(around, 2 * half)
        window = np.hanning(2 * half + 1)[1:-1]
        if self._circular:
            padded = np.pad(ahead[:-1], (half - 1, half), mode="wrap")
        else:
            padded = np.pad(ahead, half - 1, mode="edge")
        return np.asarray(convolved(padded, window / window.sum()), np.float64)


def running_maximum(values: Signal, width: int) -> Signal:
    """The maximum of `width` neighbours: (T,) → (T - width + 1,).

    Maxima of 2, 4, 8 … neighbours follow from each other; the last two that overlap give the rest.
    """
    covered = 1
    while 2 * covered <= width:
        values = np.maximum(values[:-covered], values[covered:])
        covered *= 2
    rest = width - covered
    return np.maximum(values[: len(values) - rest], values[rest:])
