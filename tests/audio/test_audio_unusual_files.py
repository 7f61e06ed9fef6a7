"""Files that decoders often misread: tone, peak, length and channel against known values."""

import io
import itertools
import logging

import av
import numpy as np
import pytest
import soundfile

from riffusion.audio import convert, decode_audio, waveform_from_segment
from riffusion.errors import MediaError
from tests.audio.audio_signals import sine
from tests.audio.hand_made_files import (
    HZ,
    NUM_SAMPLES,
    PEAK,
    SPEAKERS,
    check,
    containers,
    level,
    tones,
    wav,
)

WIDTHS = [(1, 8), (1, 6), (2, 16), (2, 12), (2, 10), (3, 24), (3, 20), (3, 18), (3, 16)]
WIDTHS += [(4, 32), (4, 24), (4, 20), (4, 16), (5, 40), (5, 24), (6, 48), (7, 56), (8, 64), (8, 24)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("width", "valid"), WIDTHS)
@pytest.mark.parametrize(("rate", "count"), [(44_100, 1), (48_000, 2), (22_050, 1)])
def test_integers_fill_their_containers_from_the_top(width, valid, order, rate, count):
    data = containers(tones(count, rate), width, valid, order)
    extensible = wav(data, rate, count, width, 8 * width, valid=valid, order=order)
    check(decode_audio(extensible), count, rate, valid)
    plain = wav(data, rate, count, width, valid, order=order)
    check(decode_audio(plain), count, rate, valid)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("width", "valid"), [(2, 16), (3, 24), (4, 32), (4, 24)])
def test_libsndfile_agrees(width, valid, order):
    data = containers(tones(2, 44_100), width, valid, order)
    file = wav(data, 44_100, 2, width, 8 * width, valid=valid, order=order, mask=3)
    expected, rate = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)
    segment = decode_audio(file)
    assert segment.frame_rate == rate
    assert np.array_equal(waveform_from_segment(segment), expected.T)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "W64", "RF64", "AIFF", "AU", "CAF"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_what_libsndfile_writes(format, subtype, endian):
    buffer = io.BytesIO()
    try:
        soundfile.write(
            buffer, tones(2, 48_000).T, 48_000, format=format, subtype=subtype, endian=endian
        )
    except (soundfile.LibsndfileError, ValueError):
        assert not soundfile.check_format(format, subtype, endian)
        return
    check(decode_audio(buffer.getvalue()), 2, 48_000, 8 if subtype == "PCM_U8" else 16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", [4, 8])
def test_floats_of_both_byte_orders(order, width):
    data = tones(2, 44_100).T.astype(f"{order}f{width}").tobytes()
    check(decode_audio(wav(data, 44_100, 2, width, 8 * width, tag=3, order=order)), 2, 44_100)
    file = wav(data, 44_100, 2, width, 8 * width, tag=3, order=order, valid=8 * width)
    check(decode_audio(file), 2, 44_100)


@pytest.mark.parametrize("bits", [16, 24])
def test_floats_of_cool_edit(bits):
    data = (tones(2, 44_100).T * 2.0 ** (bits - 1)).astype("<f4").tobytes()
    check(decode_audio(wav(data, 44_100, 2, 4, bits)), 2, 44_100)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("width", "valid"), [(4, 24), (4, 20), (3, 16), (2, 12)])
def test_integers_in_the_lower_bits_are_refused(width, valid, extensible):
    data = containers(tones(1, 44_100), width, valid, "<", lower=True)
    bits = 8 * width if extensible else valid
    file = wav(data, 44_100, 1, width, bits, valid=valid if extensible else None)
    with pytest.raises(MediaError, match="lower bits.*convert it to 16, 24 or 32 bits"):
        decode_audio(file)


@pytest.mark.parametrize(
    ("count", "bits", "block", "tag"),
    [(2, 16, 3, 1), (2, 24, 4, 1), (1, 72, 9, 1), (1, 16, 2, 3), (1, 24, 3, 3), (3, 16, 7, 1)],
)
def test_blocks_that_contradict_the_header_are_refused(count, bits, block, tag):
    file = wav(bytes(9_000), 44_100, count, 0, bits, block=block, tag=tag)
    with pytest.raises(MediaError, match=f"blocks of {block} bytes.*convert it"):
        decode_audio(file)


def test_big_endian_compressed_samples_are_refused():
    with pytest.raises(MediaError, match="RIFX.*convert it"):
        decode_audio(wav(bytes(9_000), 44_100, 1, 1, 4, tag=0x11, order=">"))


def test_limits_hold_for_unusual_samples():
    data = containers(tones(1, 44_100), 4, 24, ">")
    file = wav(data, 44_100, 1, 4, 32, valid=24, order=">")
    assert decode_audio(file, max_duration_s=NUM_SAMPLES / 44_100)
    with pytest.raises(MediaError, match=r"longer than 0\.1 s"):
        decode_audio(file, max_duration_s=0.1)
    with pytest.raises(MediaError, match="at most 1000 are allowed"):
        decode_audio(file, max_bytes=1000)
    assert waveform_from_segment(decode_audio(file[:-2000])).shape == (1, NUM_SAMPLES - 500)


@pytest.mark.parametrize("container", ["wav", "w64"])
def test_64_bits_in_other_containers(container):
    rate = 48_000
    numbers = np.rint(tones(2, rate).T * 2.0**62).astype("<i8") * 2
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream("pcm_s64le", rate=rate, layout="stereo")
        packet = av.Packet(numbers.tobytes())
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        output.start_encoding()
        output.mux(packet)
    check(decode_audio(buffer.getvalue()), 2, rate)


LAYOUTS = {
    "2.1": "FL FR LFE",
    "centre and bass": "FC LFE",
    "left and centre": "FL FC",
    "4.0": "FL FR FC BC",
    "3.1": "FL FR FC LFE",
    "5.1": "FL FR FC LFE BL BR",
    "5.1 side": "FL FR FC LFE SL SR",
    "6.0": "FL FR FC BC SL SR",
    "hexagonal": "FL FR FC BL BR BC",
    "6.1 back": "FL FR FC LFE BL BR BC",
    "7.0": "FL FR FC BL BR SL SR",
    "7.1": "FL FR FC LFE BL BR SL SR",
    "octagonal": "FL FR FC BL BR BC SL SR",
    "quad": "FL FR BL BR",
}


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_channels_are_heard_on_their_sides(name, width, order):
    speakers = sorted(LAYOUTS[name].split(), key=SPEAKERS.index)
    count, rate = len(speakers), 44_000  # whole periods: levels are exact
    data = containers(tones(count, rate), width, 8 * width, order)
    mask = sum(1 << SPEAKERS.index(speaker) for speaker in speakers)
    file = wav(data, rate, count, width, 8 * width, valid=8 * width, mask=mask, order=order)
    stereo = waveform_from_segment(convert(decode_audio(file), channels=2))
    mono = waveform_from_segment(convert(decode_audio(file), channels=1))
    sides = {"L": (1, 0), "R": (0, 1), "C": (0.5**0.5, 0.5**0.5), "E": (0, 0)}
    gains = np.array([sides[speaker[-1]] for speaker in speakers], dtype=float).T
    gains /= np.maximum(gains.sum(axis=1, keepdims=True), 1e-9)
    for side, number in itertools.product(range(2), range(count)):
        expected = PEAK * gains[side, number]
        assert level(stereo[side], HZ * (number + 1), rate) == pytest.approx(expected, abs=1e-3)
    for number, speaker in enumerate(speakers):
        heard = level(mono[0], HZ * (number + 1), rate)
        assert heard < 1e-3 if speaker == "LFE" else heard > 0.02


USUAL = {
    1: "FC",
    2: "FL FR",
    3: "FL FR FC",
    4: "FL FR BL BR",
    5: "FL FR FC BL BR",
    6: "FL FR FC LFE BL BR",
    7: "FL FR FC LFE BC SL SR",
    8: "FL FR FC LFE BL BR SL SR",
}
"""FFmpeg's default layouts, which files without a layout are taken to have."""


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("count", USUAL)
def test_a_plain_wav_file_has_the_usual_speakers_of_its_channels(count, num_channels, width):
    rate = 44_000
    data = containers(tones(count, rate), width, 8 * width, "<")
    plain = wav(data, rate, count, width, 8 * width)
    mask = sum(1 << SPEAKERS.index(speaker) for speaker in USUAL[count].split())
    masked = wav(data, rate, count, width, 8 * width, valid=8 * width, mask=mask)
    heard, expected = (
        waveform_from_segment(convert(decode_audio(file), channels=num_channels))
        for file in (plain, masked)
    )
    assert heard.shape == (num_channels, NUM_SAMPLES)
    assert np.abs(heard - expected).max() < 1e-4
    speaker_sides = dict(zip(USUAL[count].split(), range(count), strict=True))
    for speaker, number in speaker_sides.items():
        levels = [level(side, HZ * (number + 1), rate) for side in heard]
        if speaker == "LFE":
            assert max(levels) < 1e-3
        elif num_channels == 2 and speaker[-1] in "LR":
            assert (levels[0] > 0.02, levels[1] > 0.02) == (speaker[-1] == "L", speaker[-1] == "R")
        else:
            assert min(levels) > 0.02


@pytest.mark.parametrize(("layout", "centre"), [("4.0", [2, 3]), ("6.0", [2, 3]), ("2.1", [])])
def test_layouts_of_flac(layout, centre):
    rate = 44_100
    count = len(av.AudioLayout(layout).channels)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="caf") as output:
        stream = output.add_stream("pcm_s16be", rate=rate, layout=layout)
        samples = np.rint(tones(count, rate).T * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "s16", layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    stereo = waveform_from_segment(convert(decode_audio(buffer.getvalue()), channels=2))
    for number in centre:
        left, right = (level(side, HZ * (number + 1), rate) for side in stereo)
        assert left == pytest.approx(right, rel=0.02)
        assert left > 0.03


def test_ambisonics_are_refused():
    from riffusion.audio.speakers import sides_to_mix

    names = [channel.name for channel in av.AudioLayout("ambisonic 1").channels]
    with pytest.raises(MediaError, match="ambisonics.*convert it to stereo"):
        sides_to_mix(names)


@pytest.mark.parametrize(("subtype", "order"), [("FLOAT", "LITTLE"), ("DOUBLE", "BIG")])
@pytest.mark.parametrize("peak", [1.2, 3.0])
def test_floats_beyond_full_scale_are_warned_about(subtype, order, peak, caplog):
    buffer = io.BytesIO()
    loud = tones(2, 44_100) * peak / PEAK
    soundfile.write(buffer, loud.T, 44_100, format="WAV", subtype=subtype, endian=order)
    with caplog.at_level(logging.WARNING):
        decoded = waveform_from_segment(decode_audio(buffer.getvalue()))
    assert np.abs(decoded - np.clip(loud, -1, 1)).max() < 1e-6
    assert f"up to {peak:.3g} times full scale" in caplog.text


def test_floats_within_full_scale_and_lossy_codecs_are_not_warned_about(caplog):
    for format, subtype in (("WAV", "FLOAT"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        buffer = io.BytesIO()
        soundfile.write(
            buffer, tones(2, 44_100).T / PEAK * 0.999, 44_100, format=format, subtype=subtype
        )
        with caplog.at_level(logging.WARNING):
            decode_audio(buffer.getvalue())
    assert not caplog.text


@pytest.mark.parametrize("length", [4097, 12_000, 50_011, 88_200])
@pytest.mark.parametrize(("subtype", "rate"), [("ALAC_16", 44_100), ("ALAC_24", 48_000)])
def test_lossless_codecs_in_caf_end_with_their_last_sample(subtype, rate, length):
    buffer = io.BytesIO()
    signal = sine(HZ, PEAK, length / rate, rate)
    soundfile.write(buffer, signal.T, rate, format="CAF", subtype=subtype)
    assert np.abs(waveform_from_segment(decode_audio(buffer.getvalue())) - signal).max() < 1e-4
