"""Lengths: sizes that a header gets wrong, tags in front of a file, and tails of codecs."""

import io
import struct

import numpy as np
import pytest
import soundfile

from riffusion.audio import decode_audio, num_samples, read_audio, waveform_from_segment
from riffusion.errors import MediaError
from tests.audio.audio_signals import noise, sine
from tests.audio.hand_made_files import HZ, NUM_SAMPLES, PEAK, check, containers, tones, wav

RATE = 44_100
ID3 = b"ID3\x04\0\0\0\0\x02\x0a" + bytes(266)
ID3_WITH_FOOTER = b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a"
LIST = b"INFOINAM" + struct.pack("<I", 6) + b"tune\0\0"


def wav_of(kind: str) -> bytes:
    width, valid, order = {
        "usual": (2, 16, "<"),
        "24 bits": (3, 24, "<"),
        "24 in 32 bits": (4, 24, "<"),
        "big-endian": (2, 16, ">"),
    }[kind]
    data = containers(tones(2, RATE), width, valid, order)
    padded = valid if valid != 8 * width else None
    return wav(data, RATE, 2, width, 8 * width, valid=padded, order=order)


KINDS = ["usual", "24 bits", "24 in 32 bits", "big-endian"]


def chunk(name: bytes, data: bytes, kind: str) -> bytes:
    return name + struct.pack(">I" if kind == "big-endian" else "<I", len(data)) + data


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_recorder_that_was_interrupted_leaves_a_wrong_size(kind, size):
    file = bytearray(wav_of(kind))
    at = file.index(b"data") + 4
    file[at : at + 4] = struct.pack(">I" if kind == "big-endian" else "<I", size)
    check(decode_audio(bytes(file)), 2, RATE)


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", KINDS[:3])
def test_long_files_with_and_without_their_size(kind, known, name):
    file = wav_of(kind)
    start = file.index(b"data")
    size = len(file) - start - 8 if known else 0
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size, size, size, 0), kind)
    body = b"WAVE" + ds64 + file[12:start] + b"data\xff\xff\xff\xff" + file[start + 8 :]
    check(decode_audio(name + b"\xff\xff\xff\xff" + body), 2, RATE)


@pytest.mark.parametrize("length", [1, 7, 25])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_byte_after_an_odd_chunk_may_be_missing(kind, padded, length):
    file = wav_of(kind)
    odd = chunk(b"note", b"x" * length, kind) + b"\0" * padded
    check(decode_audio(file[:12] + odd + file[12:]), 2, RATE)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_after_an_empty_recording_are_no_samples(kind):
    file = wav_of(kind)
    start = file.index(b"data")
    tail = chunk(b"LIST", LIST, kind) + chunk(b"note", b"odd", kind) + b"\0"
    with pytest.raises(MediaError, match="no samples: it is empty or cut off; send"):
        decode_audio(file[:start] + chunk(b"data", b"", kind) + tail)
    check(decode_audio(file[:start] + chunk(b"data", b"", kind) + file[start:]), 2, RATE)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_after_the_samples_are_no_samples(kind):
    check(decode_audio(wav_of(kind) + chunk(b"LIST", LIST, kind)), 2, RATE)


@pytest.mark.parametrize("tag", [ID3, ID3_WITH_FOOTER, ID3 * 2])
@pytest.mark.parametrize("kind", KINDS)
def test_tags_in_front_of_a_wav_file(kind, tag, tmp_path):
    check(decode_audio(tag + wav_of(kind)), 2, RATE)
    path = tmp_path / "tagged.wav"
    path.write_bytes(tag + wav_of(kind))
    check(read_audio(path), 2, RATE)


@pytest.mark.parametrize("format", ["AIFF", "FLAC", "W64", "CAF", "AU"])
def test_tags_in_front_of_other_files(format):
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(2, RATE).T, RATE, format=format, subtype="PCM_16")
    check(decode_audio(ID3 + buffer.getvalue()), 2, RATE)


def test_tags_in_front_of_a_chain_and_of_nothing():
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(1, RATE).T, RATE, format="OGG", subtype="VORBIS")
    assert num_samples(decode_audio(ID3 + buffer.getvalue() * 2)) == 2 * NUM_SAMPLES
    for nothing in (ID3, ID3 + b"RIFF", ID3[:40]):
        with pytest.raises(MediaError, match="send an audio file"):
            decode_audio(nothing)


@pytest.mark.parametrize("num_packets", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("subtype", ["ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"])
def test_alac_that_fills_its_last_packet(subtype, count, num_packets):
    signal = np.concatenate([sine(HZ * (n + 1), PEAK, 1.0, RATE) for n in range(count)])
    signal = signal[:, : 4096 * num_packets]
    buffer = io.BytesIO()
    soundfile.write(buffer, signal.T, RATE, format="CAF", subtype=subtype)
    decoded = waveform_from_segment(decode_audio(buffer.getvalue()))
    assert decoded.shape == signal.shape
    assert np.abs(decoded - signal).max() < 1e-4


@pytest.mark.parametrize("length", [200, 1_000, 4_001, 4_096, 8_192, 12_001, 20_000, 50_000])
@pytest.mark.parametrize(("rate", "count"), [(8_000, 1), (22_050, 2), (44_100, 1), (96_000, 2)])
def test_vorbis_of_any_length_is_that_of_libsndfile(rate, count, length):
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(length, count).T, rate, format="OGG", subtype="VORBIS")
    expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32", always_2d=True)
    decoded = waveform_from_segment(decode_audio(buffer.getvalue()))
    assert decoded.shape == expected.T.shape == (count, length)
    assert np.abs(decoded - np.clip(expected.T, -1, 1)).max() < 1e-4


@pytest.mark.parametrize("subtype", ["MS_ADPCM", "GSM610"])
@pytest.mark.parametrize("length", [8_000, 10_001, 20_000])
def test_blocks_of_codecs_in_wav_end_with_the_count_of_the_file(subtype, length):
    signal = sine(HZ, PEAK, length / 8_000, 8_000)
    buffer = io.BytesIO()
    soundfile.write(buffer, signal.T, 8_000, format="WAV", subtype=subtype)
    file = buffer.getvalue()
    at = file.index(b"fact") + 8
    assert struct.unpack_from("<I", file, at) == (length,)
    decoded = waveform_from_segment(decode_audio(file))
    assert decoded.shape[1] == length
    for wrong in (1, 2**31):  # a count that can't be is not believed
        counted = file[:at] + struct.pack("<I", wrong) + file[at + 4 :]
        assert length <= num_samples(decode_audio(counted)) < length + 1_000
