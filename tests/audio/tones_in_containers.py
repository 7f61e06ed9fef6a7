"""A tone in any container and codec that FFmpeg writes."""

import io

import av
import numpy as np

RATE_HZ = 44100
TONE_HZ = 1000.0

OPENED = [
    ("wav", "pcm_s16le"),
    ("wav", "pcm_f32le"),
    ("w64", "pcm_s24le"),
    ("aiff", "pcm_s16be"),
    ("caf", "pcm_s16be"),
    ("caf", "alac"),
    ("au", "pcm_s16be"),
    ("flac", "flac"),
    ("ogg", "flac"),
    ("ogg", "libopus"),
    ("mp3", "libmp3lame"),
    ("adts", "aac"),
    ("mp4", "aac"),
    ("ipod", "alac"),
    ("mov", "pcm_s16le"),
    ("3gp", "aac"),
    ("matroska", "flac"),
    ("webm", "libopus"),
    ("asf", "wmav2"),
    ("wv", "wavpack"),
]
REFUSED = [
    ("avi", "pcm_s16le"),
    ("flv", "libmp3lame"),
    ("mpegts", "mp2"),
    ("mpeg", "mp2"),
    ("voc", "pcm_u8"),
    ("tta", "tta"),
    ("ac3", "ac3"),
    ("eac3", "eac3"),
]


def tone_in(container: str, codec: str) -> bytes:
    """One second of a tone at half scale."""
    rate = 48000 if codec == "libopus" else RATE_HZ
    time_s = np.arange(rate) / rate
    samples = (16384 * np.sin(2 * np.pi * TONE_HZ * time_s)).astype(np.int16)[None]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if codec == "wmav2":
            stream.bit_rate = 128_000  # it has no default
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    return buffer.getvalue()
