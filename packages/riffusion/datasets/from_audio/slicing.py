"""Where a recording is cut, and which slices are left out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from riffusion.audio.pcm import Samples
from riffusion.audio.waveform import Waveform
from riffusion.datasets.from_audio.formats import ImageFormat
from riffusion.errors import InputError

Reason = Literal["silent", "clipped"]

_BEAT_WINDOW_S = 120.0
"""Beats are tracked in windows of this length, so the tempo may change between windows."""
_MIN_WINDOW_S = 1.5
"""Shorter audio is too short to find a tempo."""
_FULL_SCALE_SHARE = 0.999


@dataclass(frozen=True)
class Slice:
    """A part of a recording.

    Args:
        start: first sample.
        num_frames: length in frames; may reach beyond the end, where silence is added.
        tempo_bpm: tempo, if it was cut on beats.
    """

    start: int
    num_frames: int
    tempo_bpm: float | None = None


def even_slices(
    num_samples: int, image: ImageFormat, overlap: float, keep_rest: bool
) -> list[Slice]:
    """Slices of an image's length, starting at the first sample.

    Args:
        num_samples: length of the recording.
        image: determines the length of a slice.
        overlap: share of a slice that the next one repeats, below 1.
        keep_rest: also keep the remainder at the end, if it is at least one frame.
    """
    hop = image.params.hop_length
    step = max(1, round(image.width * (1 - overlap))) * hop
    last = num_samples - image.num_samples
    starts = list(range(0, last + 1, step))
    if keep_rest:
        covered = starts[-1] + image.num_samples if starts else 0
        if num_samples - covered >= hop:
            starts.append(starts[-1] + step if starts else 0)
    return [Slice(start, image.width) for start in starts]


def beat_slices(waveform: Waveform, image: ImageFormat, beats: int, overlap: float) -> list[Slice]:
    """Slices of whole beats that start on a beat; their numbers of frames vary with the tempo.

    Args:
        waveform: (channels, samples) at the image's sample rate.
        image: determines sample rate and hop.
        beats: beats per slice.
        overlap: share of a slice that the next one repeats, rounded to whole beats.

    Raises:
        InputError: no beats were found anywhere in the recording.
    """
    # Only this option needs it, and all worker processes import this module.
    from riffusion.datasets.from_audio.beat_tracking import track_beats

    rate, hop = image.params.sample_rate, image.params.hop_length
    step = max(1, round(beats * (1 - overlap)))
    window = round(_BEAT_WINDOW_S * rate)
    slices: list[Slice] = []
    position, problem = 0, None
    while position == 0 or waveform.shape[1] - position >= _MIN_WINDOW_S * rate:
        stretch = waveform[:, position : position + window]
        try:
            times = track_beats(stretch, rate)
        except InputError as error:  # silence, or audio without onsets
            times, problem = np.empty(0), error
        firsts = range(0, len(times) - beats, step)
        for first in firsts:
            start, stop = (round(times[i] * rate) for i in (first, first + beats))
            tempo_bpm = 60 * beats * rate / (stop - start)
            num_frames = max(1, round((stop - start) / hop))
            slices.append(Slice(position + start, num_frames, round(tempo_bpm, 2)))
        next_start = round(times[firsts[-1] + step] * rate) if firsts else 0
        # Continue where the next slice would begin, unless this was the last window.
        is_last = position + window >= waveform.shape[1]
        position += window if is_last or next_start == 0 else next_start
    if not slices and problem is not None:
        raise problem
    return slices


def cut(waveform: Waveform, start: int, num_samples: int) -> Waveform:
    """A slice (channels, num_samples), padded with silence beyond the recording's end."""
    part = waveform[:, start : start + num_samples]
    missing = num_samples - part.shape[1]
    return np.pad(part, ((0, 0), (0, missing))) if missing else part


def level_db(waveform: Waveform) -> float:
    """Root-mean-square level of (channels, samples) in dB of full scale; silence is -inf."""
    power = float(np.mean(np.square(waveform), dtype=np.float64))
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def clipped_share(samples: Samples) -> float:
    """Share of clipped samples, in the channel with the largest share.

    A sample counts as clipped if it and a neighbour are at full scale. A peak that was normalised
    to full scale reaches it with single samples only; a clipped peak stays there.

    Args:
        samples: (channels, samples) of a recording at its own rate, as integers.
    """
    full_scale = int(np.iinfo(samples.dtype).max * _FULL_SCALE_SHARE)
    if samples.shape[1] < 2 or max(samples.max(), -int(samples.min())) < full_scale:
        return 0.0
    at_top = (samples >= full_scale) | (samples <= -full_scale)
    pairs = at_top[:, 1:] & at_top[:, :-1]
    clipped = np.zeros_like(at_top)
    clipped[:, 1:] |= pairs
    clipped[:, :-1] |= pairs
    return float(clipped.mean(axis=1).max())
