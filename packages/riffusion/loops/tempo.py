"""Onsets and tempo of a recording.

Onset strength (`riffusion.loops.onsets`) shows the beat in two ways. Onsets repeat after one, two,
three and four beats, so the autocorrelation is high at these lags; it is also high at multiples of
the beat. Onsets are on the beat, its halves and its quarters, so the Fourier transform is high at
these rates; it is also high at fractions of the beat. Only the beat itself is high in both, so
their sum is used, weighted by a preference for moderate tempi. (Preference after D. P. W. Ellis,
"Beat tracking by dynamic programming", JNMR 36, 2007; sum after G. Peeters, "Template-based
estimation of time-varying tempo", EURASIP JASP 2007.)
"""

import numpy as np

from riffusion.audio.waveform import Waveform
from riffusion.errors import InputError
from riffusion.loops.onsets import STEP_S, onset_strength
from riffusion.loops.oscillators import Signal
from riffusion.music_limits import TEMPO_RANGE_BPM

_PREFERRED_BPM = 105.0
_PREFERENCE_OCTAVES = 1.0
"""Standard deviation of the log-normal preference: twice the tempo weighs 0.61 of the best."""
_MULTIPLES = (1, 2, 3, 4)
_FRACTIONS = (1, 2, 4)
_PULSE_WEIGHT = 0.7
_CANDIDATES = 1200
"""Number of tempi that are compared, 0.2 % apart, from 30 to 300 beats per minute."""
_MIN_DURATION_S = 1.5
_MAX_LAG = 0.8
"""Longest lag used, as a share of the recording; at longer lags too few frames overlap."""
_MIN_ONSET = 1e-3


def estimate_tempo(waveform: Waveform, sample_rate: int) -> float:
    """Estimate the tempo of a recording in beats per minute.

    Accurate to about 1 % for five seconds of steady music. Which pulse of the music is the beat can
    be ambiguous: the result may be half or twice the tempo that a listener would tap.

    Args:
        waveform: (channels, samples) in [-1, 1].
        sample_rate: in Hz.

    Raises:
        InputError: the recording is shorter than 1.5 s or has no onsets.
    """
    duration_s = waveform.shape[-1] / sample_rate
    if duration_s < _MIN_DURATION_S:
        raise InputError(
            f"audio of {duration_s:.2f} s is too short to estimate its tempo, at least "
            f"{_MIN_DURATION_S} s are needed; pass tempo_bpm"
        )
    strength = onset_strength(waveform, sample_rate)
    step_s = round(STEP_S * sample_rate) / sample_rate
    strength = np.minimum(
        strength, np.percentile(strength, 99)
    )  # limits the effect of a single crash
    strength -= strength.mean()
    if not np.any(np.abs(strength) > _MIN_ONSET):
        raise InputError("audio without onsets has no measurable tempo; pass tempo_bpm")
    correlation = _autocorrelation(strength)
    low_bpm, high_bpm = TEMPO_RANGE_BPM
    longest_s = min(60 / low_bpm, 0.6 * duration_s)
    periods = np.geomspace(60 / high_bpm, longest_s, _CANDIDATES) / step_s
    preference = tempo_preference(60 / (periods * step_s))
    score = _salience(strength, correlation, periods)
    period = _refine(correlation, float(periods[int(np.argmax(score * preference))]))
    return float(60 / (period * step_s))


def tempo_preference(tempi_bpm: Signal) -> Signal:
    """How readily listeners take a pulse for the beat: 1 at 105 beats per minute."""
    octaves = np.log2(tempi_bpm / _PREFERRED_BPM)
    preference: Signal = np.exp(-0.5 * (octaves / _PREFERENCE_OCTAVES) ** 2)
    return preference


def beat_salience(strength: Signal, periods: Signal) -> tuple[Signal, Signal]:
    """How clearly onsets show each period as the beat, and how well they repeat after it.

    Args:
        strength: onset strength (frames,) with mean 0.
        periods: in frames.

    Returns:
        The salience, and the mean correlation after one to four beats, at most 1; both like
        `periods`. Without any onset, both are 0.
    """
    if not np.any(np.abs(strength) > _MIN_ONSET):
        return np.zeros(periods.size), np.zeros(periods.size)
    correlation = _autocorrelation(strength)
    return _salience(strength, correlation, periods), _repetition(correlation, periods)


def _salience(strength: Signal, correlation: Signal, periods: Signal) -> Signal:
    return _repetition(correlation, periods) + _PULSE_WEIGHT * _pulse(strength, periods)


def _autocorrelation(strength: Signal) -> Signal:
    """Autocorrelation (frames,) of onset strengths: mean product per lag, scaled to 1 at lag 0."""
    padded = np.fft.rfft(strength, 2 * strength.size)
    overlap = np.arange(strength.size, 0, -1)  # number of frames that are compared at each lag
    products = np.fft.irfft(np.abs(padded) ** 2)[: strength.size] / overlap
    correlation: Signal = products / products[0]
    return correlation


def _repetition(correlation: Signal, periods: Signal) -> Signal:
    """Mean correlation after one to four beats, for each period in frames; 0 for one too long."""
    lags = np.outer(_MULTIPLES, periods)
    is_used = lags < _MAX_LAG * correlation.size
    values = np.interp(lags, np.arange(correlation.size), correlation)
    mean: Signal = (values * is_used).sum(axis=0) / np.maximum(is_used.sum(axis=0), 1)
    return mean


def _pulse(strength: Signal, periods: Signal) -> Signal:
    """Sum of Fourier amplitudes at the beat, its half and its quarter, for each period in frames.

    Amplitudes are scaled so that a sine with the beat's period has 1, then weighted by 2/3.
    """
    padded_size = 8 * strength.size
    spectrum = np.abs(np.fft.rfft(strength, padded_size))
    spectrum /= np.sqrt(np.sum(strength**2) * strength.size / 2)
    bins = np.outer(_FRACTIONS, padded_size / periods)
    pulse: Signal = np.interp(bins, np.arange(spectrum.size), spectrum).sum(axis=0) * (2 / 3)
    return pulse


def _refine(correlation: Signal, lag: float) -> float:
    """Refine a lag in frames by the peaks at its multiples; the n-th peak is n times as precise."""
    multiple = 1
    while multiple * lag < _MAX_LAG * correlation.size:
        centre = round(multiple * lag)
        reach = max(2, round(0.04 * lag))
        window = correlation[max(1, centre - reach) : centre + reach + 1]
        peak = max(1, centre - reach) + int(np.argmax(window))
        if not 1 <= peak < correlation.size - 1:
            break
        left, middle, right = correlation[peak - 1 : peak + 2]
        bend = left - 2 * middle + right
        if middle <= 0 or bend >= 0:  # no peak there: keep the current estimate
            break
        lag = (peak + 0.5 * (left - right) / bend) / multiple
        multiple *= 2
    return lag
