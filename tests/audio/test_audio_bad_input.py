"""Files that aren't audio, are damaged, or are far larger than they seem."""

import logging
import struct

import numpy as np
import pytest

from riffusion.audio import (
    MEDIA_TYPES,
    decode_audio,
    encode_audio,
    num_samples,
    read_audio,
    segment_from_waveform,
    streams,
)
from riffusion.errors import MediaError
from tests.audio.audio_signals import chord, noise

FORMATS = list(MEDIA_TYPES)
PADDING = 4096
"""Samples beyond the limit that may be decoded before an encoder's padding is cut off."""


@pytest.fixture(scope="module")
def files():
    segment = segment_from_waveform(noise(30000, 2), 44100)
    return {format: encode_audio(segment, format) for format in FORMATS}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(100_000),
        b"hello, world" * 1000,
        b"<html>" * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"GIF89a" + bytes(500),
        b"\xff\xd8\xff\xe0" + bytes(500),
        b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"fLaC" + bytes(60),
        b"OggS" + bytes(60),
        b"\0\0\0\x18ftypM4A " + bytes(60),
        b"PK\x03\x04" + bytes(60),
    ],
)
def test_files_without_audio_are_refused(data):
    with pytest.raises(MediaError, match="mp3, wav, flac, ogg or m4a"):
        decode_audio(data)


def test_random_bytes():
    generator = np.random.default_rng(0)
    for size in (1, 100, 3000, 30000):
        for _ in range(10):
            with pytest.raises(MediaError):
                decode_audio(generator.bytes(size))


@pytest.mark.parametrize("format", FORMATS)
def test_every_truncation_gives_audio_or_a_clear_error(files, format, caplog):
    data = files[format]
    whole = decode_audio(data)
    lengths = []
    for percent in range(0, 101, 4):
        try:
            lengths.append(num_samples(decode_audio(data[: len(data) * percent // 100])))
        except MediaError:
            lengths.append(0)
    assert lengths[0] == 0
    assert lengths[-1] == num_samples(whole)
    assert lengths == sorted(lengths)
    if format in ("mp3", "wav", "flac", "ogg"):  # m4a has its index at the end
        assert 0 < lengths[len(lengths) // 2] < lengths[-1]


@pytest.mark.parametrize("format", FORMATS)
def test_damage_in_the_middle_loses_a_part_or_all_but_never_crashes(files, format):
    generator = np.random.default_rng(0)
    whole = num_samples(decode_audio(files[format]))
    for _ in range(10):
        data = bytearray(files[format])
        start = int(generator.integers(0, len(data) - 200))
        data[start : start + 200] = generator.bytes(200)
        try:
            assert 0 < num_samples(decode_audio(bytes(data), max_duration_s=30)) <= whole + 5000
        except MediaError as error:
            assert str(error)


def test_damage_is_logged(files, caplog):
    data = bytearray(files["mp3"])
    data[8_000:10_000] = b"\xaa" * 2_000
    with caplog.at_level(logging.WARNING):
        assert 0 < num_samples(decode_audio(bytes(data))) < 30000
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
    ],
)
def test_playlists_do_not_reach_local_files(tmp_path, files, playlist):
    target = tmp_path / "secret.wav"
    target.write_bytes(files["wav"])
    with pytest.raises(MediaError):
        decode_audio(playlist.format(target).encode())
    path = tmp_path / "list.m3u8"
    path.write_text(playlist.format(target))
    with pytest.raises(MediaError, match=r"list\.m3u8"):
        read_audio(path)


@pytest.mark.parametrize("format", FORMATS)
def test_duration_limit(files, format):
    seconds = 30000 / 44100
    assert decode_audio(files[format], max_duration_s=seconds + 0.001)
    with pytest.raises(MediaError, match=r"longer than 0\.5 s"):
        decode_audio(files[format], max_duration_s=0.5)


def test_bombs_stop_at_the_limit(monkeypatch):
    silence = segment_from_waveform(np.zeros((8, 60 * 48000), dtype=np.float32), 48000)
    data = encode_audio(silence, "flac")
    assert len(data) < 30_000  # 46 MB of samples
    decoded = []
    original = streams.integers

    def counted(array, wide):
        decoded.append(array.shape[1])
        return original(array, wide)

    monkeypatch.setattr(streams, "integers", counted)
    with pytest.raises(MediaError, match="longer than 2 s"):
        decode_audio(data, max_duration_s=2)
    assert sum(decoded) <= 2 * 48000 + PADDING
    decoded.clear()
    with pytest.raises(MediaError, match="8 channels"):
        decode_audio(data, max_samples=800_000)
    assert sum(decoded) <= 100_000 + PADDING


def test_a_header_that_claims_hours_is_ignored():
    wav = bytearray(encode_audio(segment_from_waveform(chord(1000, 44100), 44100), "wav"))
    wav[4:8] = b"\xff\xff\xff\xff"
    data = wav.index(b"data")
    wav[data + 4 : data + 8] = b"\xff\xff\xff\x7f"
    assert num_samples(decode_audio(bytes(wav), max_duration_s=1)) == 1000


@pytest.mark.parametrize("rate", [0, 1, 999, 384_001, 2**31 - 1, 2**32 - 1])
def test_absurd_sample_rates(rate):
    header = struct.pack("<HHIIHH", 1, 1, rate, min(2 * rate, 2**32 - 1), 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", 2000)
    wav = b"RIFF" + struct.pack("<I", len(body) + 2000) + body + bytes(2000)
    with pytest.raises(MediaError):
        decode_audio(wav)


@pytest.mark.parametrize("tag", [0x1234, 0x0000, 0xBEEF])
def test_unknown_codec(tag):
    header = struct.pack("<HHIIHH", tag, 1, 44100, 88200, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", 2000)
    wav = b"RIFF" + struct.pack("<I", len(body) + 2000) + body + bytes(2000)
    with pytest.raises(MediaError, match="unknown codec; send an audio file such as mp3"):
        decode_audio(wav)


def test_size_limit(tmp_path, files):
    with pytest.raises(MediaError, match="at most 1000 are allowed"):
        decode_audio(files["wav"], max_bytes=1000)
    path = tmp_path / "clip.wav"
    path.write_bytes(files["wav"])
    with pytest.raises(MediaError, match=r"clip\.wav.*at most 1000 are allowed"):
        read_audio(path, max_bytes=1000)


def test_a_change_of_rate_midway_is_refused():
    parts = [
        encode_audio(segment_from_waveform(chord(30000, rate), rate), "mp3")
        for rate in (44100, 48000)
    ]
    with pytest.raises(MediaError, match="changes from"):
        decode_audio(b"".join(parts))


def test_file_of_no_samples():
    wav = encode_audio(segment_from_waveform(chord(1, 44100), 44100), "wav")
    empty = bytearray(wav[:-2])
    empty[-4:] = bytes(4)
    with pytest.raises(MediaError):
        decode_audio(bytes(empty))
