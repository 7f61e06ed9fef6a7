"""Upstream's name for `riffusion.audio.upstream`."""

from riffusion.audio.upstream import (
    apply_filters,
    audio_from_waveform,
    overlay_segments,
    stitch_segments,
)

__all__ = ["apply_filters", "audio_from_waveform", "overlay_segments", "stitch_segments"]
