"""Audio in and out: codecs, loudness, and joining clips. The audio type is pydub's AudioSegment."""

from riffusion.audio.decoding import decode_audio, read_audio
from riffusion.audio.effects import crossfade, fade, loop, overlay, stitch, take_over
from riffusion.audio.encoding import encode_audio, write_audio
from riffusion.audio.formats import MEDIA_TYPES, AudioFileFormat, check_format, format_from_path
from riffusion.audio.loudness import (
    TARGET_LUFS,
    TRUE_PEAK_DBTP,
    measure_loudness,
    normalize_loudness,
    normalize_waveform,
    true_peak_db,
)
from riffusion.audio.segments import (
    AudioSegment,
    Waveform,
    convert,
    num_samples,
    resample,
    segment_from_waveform,
    waveform_from_segment,
    with_channels,
)
from riffusion.audio.writer import AudioWriter

__all__ = [
    "MEDIA_TYPES",
    "TARGET_LUFS",
    "TRUE_PEAK_DBTP",
    "AudioFileFormat",
    "AudioSegment",
    "AudioWriter",
    "Waveform",
    "check_format",
    "convert",
    "crossfade",
    "decode_audio",
    "encode_audio",
    "fade",
    "format_from_path",
    "loop",
    "measure_loudness",
    "normalize_loudness",
    "normalize_waveform",
    "num_samples",
    "overlay",
    "read_audio",
    "resample",
    "segment_from_waveform",
    "stitch",
    "take_over",
    "true_peak_db",
    "waveform_from_segment",
    "with_channels",
    "write_audio",
]
