"""Integers in wider containers, and byte orders that FFmpeg doesn't know, in CAF, MOV, AIFF, AU."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from riffusion.audio import decode_audio, waveform_from_segment
from riffusion.errors import MediaError
from tests.audio.hand_made_files import aifc, caf, check, containers, mov, tones, wav

WIDTHS = [(2, 16), (2, 12), (3, 24), (3, 20), (3, 16), (4, 32), (4, 24), (4, 20), (4, 16)]
ALIGNED_HIGH, BIG_ENDIAN = 16, 2


@pytest.mark.parametrize("size", [None, -1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("width", "valid"), WIDTHS)
@pytest.mark.parametrize(("rate", "count"), [(44_100, 1), (48_000, 2)])
def test_core_audio(width, valid, order, size, rate, count):
    data = containers(tones(count, rate), width, valid, order)
    file = caf(data, rate, count, width, valid, 2 if order == "<" else 0, size)
    check(decode_audio(file), count, rate, valid)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("width", "valid"), WIDTHS)
@pytest.mark.parametrize(("rate", "count"), [(44_100, 1), (48_000, 2)])
def test_quicktime(width, valid, order, rate, count):
    data = containers(tones(count, rate), width, valid, order)
    flags = (BIG_ENDIAN if order == ">" else 0) | 4 | (8 if valid == 8 * width else ALIGNED_HIGH)
    check(decode_audio(mov(data, rate, count, width, valid, flags)), count, rate, valid)


def test_integers_in_the_lower_bits_are_refused():
    data = containers(tones(1, 44_100), 4, 24, "<", lower=True)
    for file in (caf(data, 44_100, 1, 4, 24, 2), mov(data, 44_100, 1, 4, 24, 4)):
        with pytest.raises(MediaError, match="lower bits of 32-bit.*convert it to 16, 24 or 32"):
            decode_audio(file)


def test_packets_that_contradict_the_header_are_refused():
    with pytest.raises(MediaError, match="24-bit samples in packets of 4 bytes.*convert it"):
        decode_audio(caf(bytes(9_000), 44_100, 2, 2, 24, 0))


def test_limits_hold():
    data = containers(tones(2, 44_100), 4, 24, ">")
    with pytest.raises(MediaError, match=r"longer than 0\.1 s"):
        decode_audio(caf(data, 44_100, 2, 4, 24, 0), max_duration_s=0.1)


@pytest.mark.parametrize(
    ("kind", "width", "order"),
    [
        (b"NONE", 2, ">"),
        (b"NONE", 3, ">"),
        (b"NONE", 4, ">"),
        (b"twos", 2, ">"),
        (b"in24", 3, ">"),
        (b"sowt", 2, "<"),
        (b"sowt", 3, "<"),
        (b"sowt", 4, "<"),
        (b"42ni", 3, "<"),
        (b"23ni", 4, "<"),
    ],
)
@pytest.mark.parametrize("name", [b"", b"little endian", b"four"])
def test_compression_types_of_aiff(kind, width, order, name):
    data = containers(tones(2, 44_100), width, 8 * width, order)
    check(decode_audio(aifc(data, 44_100, 2, 8 * width, kind, name)), 2, 44_100)


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("subtype", ["ALAW", "ULAW"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "AU", "CAF", "AIFF", "W64"])
@pytest.mark.parametrize("count", [1, 2])
def test_logarithmic_samples_are_those_of_libsndfile(format, subtype, endian, count):
    buffer = io.BytesIO()
    loud = tones(count, 8_000).T * 3  # all sizes of samples
    try:
        soundfile.write(buffer, loud, 8_000, format=format, subtype=subtype, endian=endian)
    except (soundfile.LibsndfileError, ValueError):
        assert not soundfile.check_format(format, subtype, endian)
        return
    expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32", always_2d=True)
    assert np.array_equal(waveform_from_segment(decode_audio(buffer.getvalue())), expected.T)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_au_of_both_byte_orders(subtype, endian):
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(2, 44_100).T, 44_100, format="AU", subtype=subtype, endian=endian)
    check(decode_audio(buffer.getvalue()), 2, 44_100, 8 if subtype == "PCM_S8" else 16)


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "G721_32"), ("AU", "G721_32")])
def test_codecs_that_ffmpeg_decodes_at_a_wrong_level_are_refused(format, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(1, 8_000).T, 8_000, format=format, subtype=subtype)
    with pytest.raises(MediaError, match="codec g726.* isn't read; send an audio file"):
        decode_audio(buffer.getvalue())


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_nms_adpcm_is_refused(bits):
    buffer = io.BytesIO()
    soundfile.write(buffer, tones(1, 8_000).T, 8_000, format="WAV", subtype=f"NMS_ADPCM_{bits}")
    with pytest.raises(MediaError, match="NMS ADPCM, which isn't read; convert it"):
        decode_audio(buffer.getvalue())


def test_the_tag_of_nms_adpcm_is_amrs_too():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as output:
        stream = output.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        samples = np.rint(tones(1, 8_000) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        frame.sample_rate = 8_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    decoded = waveform_from_segment(decode_audio(buffer.getvalue()))[0]
    assert np.abs(decoded[4_000:8_000]).max() == pytest.approx(0.3, rel=0.2)


def test_blocks_and_bits_that_are_left_out_follow_from_each_other():
    for width in (2, 3, 4):
        data = containers(tones(2, 44_100), width, 8 * width, "<")
        check(decode_audio(wav(data, 44_100, 2, width, 8 * width, block=0)), 2, 44_100)
        check(decode_audio(wav(data, 44_100, 2, width, 0)), 2, 44_100)


HUGE = struct.pack(">q", 2**63 - 1)
INFINITE = b"\x7f\xf0" + bytes(6)
GUID_END = bytes.fromhex("2e91cf11a5d628db04c10000")


@pytest.mark.parametrize(
    "file",
    [
        caf(bytes(900), 44_100, 1, 4, 24, 0).replace(struct.pack(">d", 44_100), INFINITE),
        caf(bytes(900), 44_100, 1, 4, 24, 0).replace(b"data" + bytes(4), b"junk" + HUGE[:4]),
        caf(bytes(900), 44_100, 1, 4, 24, 0, 3),
        b"caff" + bytes(4) + b"junk" + HUGE + bytes(99),
        mov(bytes(900), 44_100, 1, 4, 24, 16).replace(struct.pack(">I", 4) + bytes(3), HUGE[:7]),
        mov(bytes(900), 44_100, 1, 4, 24, 16).replace(b"\0\0\0\x18\0\0\0\x14", b"\0\0\0\x18" * 2),
        mov(bytes(900), 2**30, 2**29, 4, 24, 16),
        aifc(bytes(900), 44_100, 1, 24, b"sowt").replace(b"SSND" + bytes(2), b"SSND\xff\xff"),
        b"riff" + GUID_END + HUGE + b"wave" + bytes(12) + b"junk" + GUID_END + HUGE[::-1] + HUGE,
        b"riff" + GUID_END + HUGE + b"wave" + bytes(12) + b"junk" + GUID_END + b"\xff" * 8,
        b"dns." + struct.pack("<IIIII", 2**32 - 1, 2**32 - 2, 5, 44_100, 2**32 - 1) + bytes(99),
    ],
)  # fmt: skip
def test_absurd_numbers_in_headers_are_refused_or_passed_over(file):
    try:
        decode_audio(file, max_duration_s=60)
    except MediaError as error:
        assert "\n" not in str(error)
