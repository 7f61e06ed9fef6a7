"""Upstream's helpers for audio, with pydub's AudioSegment, on top of `riffusion.audio`."""

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

_FULL_SCALE = 2.0**15


def audio_from_waveform(
    samples: npt.NDArray[np.number], sample_rate: int, normalize: bool = False
) -> AudioSegment:
    """A 16-bit segment of samples in units of 16-bit integers.

    Args:
        samples: (channels, samples); values beyond 16 bits clip.
        sample_rate: in Hz.
        normalize: bring the highest peak to full scale first, whatever the units; silence stays.
    """
    waveform = np.asarray(samples, dtype=np.float64)
    peak = np.abs(waveform).max(initial=0.0)
    if not normalize:
        waveform = waveform / _FULL_SCALE
    elif peak > 0:
        waveform = waveform / peak
    return segment_from_waveform(waveform, sample_rate)


def apply_filters(segment: AudioSegment, compression: bool = False) -> AudioSegment:
    """Bring a clip to the loudness that all clips have: -14 LUFS, true peak at most -1 dBTP.

    Args:
        segment: of any rate and channel count.
        compression: accepted for upstream's scripts; the limiter works only where it is needed.
    """
    waveform = normalize_waveform(waveform_from_segment(segment), segment.frame_rate)
    return segment_from_waveform(waveform, segment.frame_rate, sample_width=segment.sample_width)


def stitch_segments(segments: Sequence[AudioSegment], crossfade_s: float) -> AudioSegment:
    """Join clips with a crossfade between each two."""
    clips = [audio_from_segment(segment) for segment in segments]
    return _segment(stitch(clips, crossfade_s), segments)


def overlay_segments(segments: Sequence[AudioSegment]) -> AudioSegment:
    """Play clips at once; the result is as long as the first."""
    clips = [audio_from_segment(segment) for segment in segments]
    return _segment(overlay(clips), segments)


def _segment(audio: Audio, sources: Sequence[AudioSegment]) -> AudioSegment:
    """`audio` as a segment with the largest sample width of its sources."""
    return segment_from_audio(audio, sample_width=max(s.sample_width for s in sources))
