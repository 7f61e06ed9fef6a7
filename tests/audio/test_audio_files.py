"""Audio files: of videos, with covers, written whole or not at all, and at bad paths."""

import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

from riffusion.audio import (
    decode_audio,
    encode_audio,
    format_from_path,
    num_samples,
    read_audio,
    waveform_from_segment,
    write_audio,
)
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, offset_of, snr_db
from tests.audio.codec_limits import segment_of


@pytest.mark.parametrize(
    ("container", "audio", "video", "sample_format"),
    [
        ("mp4", "aac", "mpeg4", "fltp"),
        ("mov", "aac", "mpeg4", "fltp"),
        ("webm", "libopus", "libvpx", "flt"),
        ("matroska", "flac", "mpeg4", "s16"),
    ],
)
def test_audio_of_a_video(container, audio, video, sample_format):
    waveform = chord(50011, 48000, 2)
    frame_count = 10
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        images = output.add_stream(video, rate=25, width=64, height=64, pix_fmt="yuv420p")
        audio_stream = output.add_stream(audio, rate=48000, layout="stereo", format=sample_format)
        for index in range(frame_count):
            grey = np.full((96, 64), 20 * index, dtype=np.uint8)
            image = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            image.pts = index
            output.mux(images.encode(image))
        output.mux(images.encode(None))
        data = waveform if sample_format != "s16" else np.rint(waveform * 32768).astype(np.int16)
        if not sample_format.endswith("p"):
            data = np.ascontiguousarray(data.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(data, format=sample_format, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        output.mux(audio_stream.encode(frame))
        output.mux(audio_stream.encode(None))
    decoded = waveform_from_segment(decode_audio(buffer.getvalue()))
    assert decoded.shape == waveform.shape
    assert offset_of(waveform, decoded) == 0
    assert snr_db(waveform, decoded) > 15


def test_cover_art_is_skipped():
    segment = segment_of(chord(30000, 44100), 44100)
    mp3 = encode_audio(segment, "mp3")
    assert mp3.startswith(b"ID3")
    image = b"\0image/png\0\3\0" + _png()
    frame = b"APIC" + struct.pack(">IH", len(image), 0) + image
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    with_cover = b"ID3\3\0\0" + size + frame + mp3[20:]
    with av.open(io.BytesIO(with_cover)) as container:
        assert len(container.streams.video) == 1
    assert decode_audio(with_cover) == decode_audio(mp3)


def _png() -> bytes:
    """A grey image of one pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("extension", ["mp3", "WAV", "flac", "ogg", "opus", "m4a"])
def test_files(tmp_path, extension):
    segment = segment_of(chord(9000, 48000), 48000)
    path = tmp_path / f"clip.{extension}"
    path.write_bytes(b"old")
    write_audio(segment, path)
    assert num_samples(read_audio(path)) == 9000
    assert decode_audio(path) == read_audio(str(path))
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary stays


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="no samples"):
        write_audio(segment_of(np.zeros((1, 0)), 44100), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_paths(tmp_path):
    segment = segment_of(chord(100, 44100), 44100)
    with pytest.raises(InputError, match="nowhere' does not exist"):
        write_audio(segment, tmp_path / "nowhere" / "clip.mp3")
    (tmp_path / "folder.mp3").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_audio(segment, tmp_path / "folder.mp3")
    with pytest.raises(InputError, match="is a folder"):
        read_audio(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_audio(tmp_path / "missing.mp3")
    for name in ("clip", "clip.txt", ".mp3", ""):
        with pytest.raises(InputError, match=r"\.mp3, \.wav, \.flac"):
            format_from_path(name)
