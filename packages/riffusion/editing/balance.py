"""The balance of a recording's channels, for new sound that is made in mono."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform
from riffusion.editing.sound import Sound

Levels = npt.NDArray[np.float32]

_HIGHEST = 4.0
"""Highest level of a channel; with opposite channels, their mean is nearly silent."""
_STRETCH_S = 1.0
"""Length of the stretches whose balance is measured."""
_SILENT = 1e-6
"""Level of the mean below which there is nothing to compare with: -120 dB."""


def balance(heard: Waveform) -> Levels:
    """Level of each channel relative to that of their mean, (channels,); 1 for silence.

    Args:
        heard: (channels, samples).
    """
    mono = float(np.sqrt(np.mean(heard.mean(0) ** 2))) if heard.shape[1] else 0.0
    if mono < _SILENT:
        return np.ones(len(heard), np.float32)
    channels = np.sqrt(np.mean(heard**2, axis=1))
    return np.asarray(np.minimum(channels / mono, _HIGHEST), np.float32)


def balance_along(
    recording: Sound, start: int, stop: int, sample_rate: int | None = None
) -> Waveform:
    """Level of each channel relative to their mean, at each time: (channels, stop - start).

    Args:
        recording: the recording.
        start, stop: samples from its start on.
        sample_rate: rate of these samples in Hz; None for the recording's own.
    """
    own = recording.sample_rate
    times = np.arange(start, stop) * (own / (sample_rate or own))
    step = round(_STRETCH_S * own)
    middles, levels = [], []
    for index in range(max(0, int(times[0]) // step - 1), int(times[-1]) // step + 2):
        begin, end = (min(at * step, recording.num_samples) for at in (index, index + 1))
        heard = recording.waveform(begin, end)
        if heard.shape[1] == 0:
            break
        middles.append((index + 0.5) * step)
        levels.append(balance(heard))
    rows = [np.interp(times, middles, each) for each in np.transpose(levels)]
    return np.stack(rows).astype(np.float32)


def balanced(
    mono: Iterable[Waveform], num_channels: int, levels: Callable[[int, int], Waveform]
) -> Iterator[Waveform]:
    """Sound in mono as `num_channels` channels.

    Args:
        mono: (1, samples) each, one after the other.
        num_channels: 1 leaves it as it is.
        levels: levels of the channels from a sample to another one, (channels, samples).

    Yields:
        (channels, samples) each.
    """
    position = 0
    for waveform in mono:
        stop = position + waveform.shape[1]
        yield (
            waveform * levels(position, stop) if num_channels > 1 and stop > position else waveform
        )
        position = stop
