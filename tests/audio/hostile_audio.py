"""Files that are made to harm a decoder."""

import io

import av
import numpy as np

SLOW_NUM_FRAMES = 3_500_000
"""Frames in 24.5 MB, about the most that a request can hold: 40 s of processor time."""


def empty_frames(num_frames: int = SLOW_NUM_FRAMES) -> bytes:
    """AAC frames of 7 bytes, which are only headers. Each one fails, and that takes time."""
    return b"\xff\xf1\x50\x80\x00\xff\xfc" * num_frames


def silent_flac(duration_s: float, rate: int, layout: str) -> bytes:
    """Silence of 24 bits: some kilobytes that become many megabytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=rate, layout=layout)
        stream.format = "s32"
        size = 65_535
        stream.codec_context.options = {"frame_size": str(size)}
        for start in range(0, round(duration_s * rate), size):
            block = np.zeros((1, size * len(av.AudioLayout(layout).channels)), np.int32)
            frame = av.AudioFrame.from_ndarray(block, format="s32", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()
