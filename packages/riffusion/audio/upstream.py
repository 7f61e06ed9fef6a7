"""Upstream's audio functions (`riffusion.util.audio_util`), built on `riffusion.audio`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from riffusion.audio import (
    Audio,
    AudioSegment,
    audio_from_segment,
    normalize_waveform,
    overlay,
    segment_from_audio,
    segment_from_waveform,
    stitch,
    waveform_from_segment,
)

FULL_SCALE = 2.0**15
"""Full scale in upstream's unit of samples, the 16-bit step."""


def audio_from_waveform(
    samples: npt.NDArray[np.number], sample_rate: int, normalize: bool = False
) -> AudioSegment:
    """Make a 16-bit segment from samples in 16-bit units.

    Args:
        samples: (channels, samples); values outside the 16-bit range are clipped.
        sample_rate: in Hz.
        normalize: scale the highest peak to full scale first; silence stays silent.
    """
    waveform = np.asarray(samples, dtype=np.float64)
    peak = np.abs(waveform).max(initial=0.0)
    if not normalize:
        waveform = waveform / FULL_SCALE
    elif peak > 0:
        waveform = waveform / peak
    return segment_from_waveform(waveform, sample_rate)


def apply_filters(segment: AudioSegment, compression: bool = False) -> AudioSegment:
    """Normalise a clip to the common loudness: -14 LUFS, true peak at most -1 dBTP.

    Args:
        segment: any sample rate and number of channels.
        compression: accepted for upstream's scripts and ignored; peaks are limited if necessary.
    """
    waveform = normalize_waveform(waveform_from_segment(segment), segment.frame_rate)
    return segment_from_waveform(waveform, segment.frame_rate, sample_width=segment.sample_width)


def stitch_segments(segments: Sequence[AudioSegment], crossfade_s: float) -> AudioSegment:
    """Join clips with a crossfade between neighbours."""
    clips = [audio_from_segment(segment) for segment in segments]
    return _segment(stitch(clips, crossfade_s), segments)


def overlay_segments(segments: Sequence[AudioSegment]) -> AudioSegment:
    """Mix clips; the result is as long as the first clip."""
    clips = [audio_from_segment(segment) for segment in segments]
    return _segment(overlay(clips), segments)


def _segment(audio: Audio, sources: Sequence[AudioSegment]) -> AudioSegment:
    """`audio` as a segment with the largest sample width of its sources."""
    return segment_from_audio(audio, sample_width=max(s.sample_width for s in sources))
