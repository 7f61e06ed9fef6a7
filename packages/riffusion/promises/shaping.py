"""The length and pitch of a clip, which counts as a loop: its end leads into its start."""

from fractions import Fraction

import numpy as np

from riffusion.audio import Audio
from riffusion.audio.effects import crossfaded
from riffusion.audio.waveform import Waveform
from riffusion.editing.pitch_shifting import shifted

_CONTEXT_S = 0.5
"""Audio before and after the clip that is stretched with it, so that its ends are as its inside."""
_JOIN_S = 0.01


def shaped(audio: Audio, semitones: int, num_samples: int) -> Waveform:
    """Stretch a clip to a length, and move its pitch.

    Args:
        audio: the clip.
        semitones: upwards positive.
        num_samples: length of the result.

    Returns:
        (channels, num_samples); the clip's own samples if nothing changes.
    """
    if semitones == 0 and num_samples == audio.num_samples:
        return audio.waveform
    context = round(_CONTEXT_S * audio.sample_rate)
    length = Fraction(num_samples, audio.num_samples)

    def read(start: int, stop: int) -> Waveform:
        positions = np.arange(start - context, stop - context)
        return np.take(audio.waveform, positions, axis=-1, mode="wrap")

    total = audio.num_samples + 2 * context
    parts = shifted(read, total, audio.num_channels, audio.sample_rate, semitones, length)
    first = round(context * length)
    return np.concatenate(list(parts), axis=1)[:, first : first + num_samples]


def filled(waveform: Waveform, num_samples: int, beat_samples: float, sample_rate: int) -> Waveform:
    """A clip with another length and the same beats: cut off, or continued by its last beats.

    Args:
        waveform: (channels, samples), more than one beat.
        num_samples: length of the result.
        beat_samples: samples per beat.
        sample_rate: in Hz.
    """
    missing = num_samples - waveform.shape[1]
    if missing <= 0:
        return waveform[:, :num_samples]
    join = round(_JOIN_S * sample_rate)
    period = round(np.ceil(missing / beat_samples) * beat_samples)
    source = max(join, waveform.shape[1] - period)
    more = np.take(waveform, np.arange(source - join, source + missing), axis=-1, mode="wrap")
    faded = crossfaded(waveform[:, -join:], more[:, :join])
    return np.concatenate([waveform[:, :-join], faded, more[:, join:]], axis=1)
