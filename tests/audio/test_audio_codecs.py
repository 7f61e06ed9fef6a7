"""Codecs: lengths, positions, levels, tags, rates and channels after a round trip."""

import io

import av
import numpy as np
import pytest

from riffusion.audio import (
    MEDIA_TYPES,
    Audio,
    AudioSegment,
    decode_audio,
    encode_audio,
    num_samples,
    resample,
    waveform_from_segment,
)
from riffusion.audio import encoder as encoder_module
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, noise, offset_of, snr_db
from tests.audio.codec_limits import SNR_DB, segment_of

CLIP_SAMPLES = 225_792
"""512 frames of 10 ms at 44.1 kHz: 5.12 s."""
FORMATS = list(MEDIA_TYPES)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("format", FORMATS)
def test_round_trip_keeps_length_position_and_waveform(format, rate, channels):
    for length in (rate, 12345):
        waveform = chord(length, rate, channels) + noise(length, channels, rms=0.005)
        result = decode_audio(encode_audio(segment_of(waveform, rate), format))
        expected_rate = 48000 if format == "ogg" else rate
        assert (result.frame_rate, result.channels) == (expected_rate, channels)
        expected = resample(waveform, rate, expected_rate)
        decoded = waveform_from_segment(result)
        assert decoded.shape == expected.shape
        assert offset_of(expected, decoded) == 0
        assert snr_db(expected, decoded) > SNR_DB[format]


@pytest.mark.parametrize("format", FORMATS)
def test_a_clip_of_512_frames_lasts_5_12_seconds(format):
    waveform = chord(CLIP_SAMPLES, 44100)
    result = decode_audio(encode_audio(segment_of(waveform, 44100), format))
    assert num_samples(result) == (245_760 if format == "ogg" else CLIP_SAMPLES)
    assert num_samples(result) / result.frame_rate == 5.12


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
@pytest.mark.parametrize("format", FORMATS)
def test_lengths_around_the_codecs_frames(format, rate):
    # Frames have 1152 or 576 (mp3), 1024 (AAC) or 960 samples (Opus); 1 to 46 samples in the last
    # mp3 frame are the hard case.
    for length in (
        47,
        100,
        576,
        577,
        622,
        960,
        961,
        1023,
        1024,
        1025,
        1105,
        1152,
        1153,
        1198,
        2305,
    ):
        segment = segment_of(noise(length, seed=length), rate)
        result = decode_audio(encode_audio(segment, format))
        assert num_samples(result) == round(length * result.frame_rate / rate), length


@pytest.mark.parametrize("format", FORMATS)
def test_one_sample(format):
    result = decode_audio(encode_audio(segment_of(np.full((1, 1), 0.5), 44100), format))
    assert num_samples(result) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_silence_stays_silent_and_full_scale_does_not_wrap(format):
    silence = decode_audio(encode_audio(segment_of(np.zeros((2, 9000)), 44100), format))
    assert np.abs(waveform_from_segment(silence)).max() <= 1 / 32768
    square = np.sign(chord(9000, 44100)) * 1.0
    decoded = waveform_from_segment(decode_audio(encode_audio(segment_of(square, 44100), format)))
    expected = resample(square, 44100, 48000) if format == "ogg" else square
    assert np.corrcoef(decoded[0], expected[0])[0, 1] > 0.95


def test_an_impulse_keeps_its_position():
    waveform = np.zeros((1, 20000), dtype=np.float32)
    waveform[0, 7777] = 0.9
    for format in ("mp3", "m4a", "flac", "wav"):
        decoded = waveform_from_segment(
            decode_audio(encode_audio(segment_of(waveform, 44100), format))
        )
        assert int(np.abs(decoded).argmax()) == 7777, format


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_segment_gives_the_same_bytes(format):
    segment = segment_of(noise(30000, 2), 44100)
    data = encode_audio(segment, format)
    assert encode_audio(segment, format) == data
    with av.open(io.BytesIO(data)) as container:
        assert "creation_time" not in container.metadata
        assert not any(char.isdigit() for char in container.metadata.get("encoder", ""))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("rate", [11000, 44100])
def test_a_waveform_encodes_as_its_16_bit_segment(format, rate):
    waveform = 0.8 * chord(9000, rate, 2) + noise(9000, 2)
    segment = segment_of(waveform, rate)
    assert encode_audio(Audio(waveform, rate), format) == encode_audio(segment, format)


@pytest.mark.parametrize("format", FORMATS)
def test_tags(format):
    tags = {"title": "Kirchenglocken läuten", "artist": "Riffusion"}
    data = encode_audio(segment_of(chord(9000, 44100), 44100), format, tags=tags)
    with av.open(io.BytesIO(data)) as container:
        metadata = {**container.metadata, **container.streams.audio[0].metadata}
    assert {name: metadata[name] for name in tags} == tags
    assert num_samples(decode_audio(data)) in (9000, 9796)


@pytest.mark.parametrize("format", ["mp3", "ogg", "m4a"])
def test_bit_rate_changes_the_size(format):
    segment = segment_of(noise(44100, 2), 44100)
    sizes = [len(encode_audio(segment, format, bitrate_kbps=kbps)) for kbps in (64, 128, 192)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[1] == pytest.approx(128_000 / 8, rel=0.15)


@pytest.mark.parametrize(
    ("format", "rate", "expected"),
    [
        ("mp3", 96000, 48000),
        ("mp3", 11000, 11025),
        ("mp3", 44101, 44100),
        ("m4a", 192000, 96000),
        ("ogg", 44100, 48000),
        ("flac", 96000, 96000),
        ("wav", 11000, 11000),
    ],
)
def test_rates_become_the_nearest_that_the_codec_supports(format, rate, expected):
    result = decode_audio(encode_audio(segment_of(chord(rate // 10, rate), rate), format))
    assert result.frame_rate == expected
    assert num_samples(result) == round(rate // 10 * expected / rate)


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8])
def test_many_channels_stay_in_lossless_formats_and_are_mixed_in_lossy(channels):
    waveform = noise(5000, channels)
    segment = segment_of(waveform, 44100)
    for format in ("wav", "flac"):
        assert decode_audio(encode_audio(segment, format)) == segment
    for format in ("mp3", "ogg", "m4a"):
        assert decode_audio(encode_audio(segment, format)).channels == 2


def test_wide_samples_are_kept():
    waveform = chord(5000, 44100, 2)
    segment = segment_of(waveform, 44100, sample_width=4)
    assert decode_audio(encode_audio(segment, "wav")) == segment
    flac = decode_audio(encode_audio(segment, "flac"))
    error = waveform_from_segment(flac) - waveform_from_segment(segment)
    assert flac.sample_width == 4
    assert np.abs(error).max() <= 2.0**-23
    peak = AudioSegment(b"\xff\xff\xff\x7f" * 9, sample_width=4, frame_rate=44100, channels=1)
    decoded = decode_audio(encode_audio(peak, "flac"))
    assert waveform_from_segment(decoded).min() > 0.99  # rounding up must not wrap


def test_8_bit_segments_are_widened():
    segment = segment_of(chord(5000, 8000), 8000, sample_width=1)
    for format in ("wav", "flac"):
        result = decode_audio(encode_audio(segment, format))
        assert np.array_equal(waveform_from_segment(result), waveform_from_segment(segment))


def octaves_of_noise_db(expected, decoded, rate):
    """Noise relative to the signal in each octave from 62.5 Hz to 16 kHz, in dB.

    The gain is that of least noise: LAME turns audio down by 3 %.
    """
    gain = (expected * decoded).sum() / np.square(decoded).sum()
    powers = [
        np.square(np.abs(np.fft.rfft(signal[0])))
        for signal in (expected, expected - gain * decoded)
    ]
    octaves = np.log2(np.fft.rfftfreq(expected.shape[1], 1 / rate)[1:] / 62.5).astype(int)
    signal, rest = (np.bincount(octaves.clip(0), power[1:])[:8] for power in powers)
    return 10 * np.log10(rest / signal)


def test_an_mp3_of_many_bits_is_about_as_good_without_the_search(monkeypatch):
    waveform = chord(88_200, 44100) + noise(88_200, 1, rms=0.03)
    mono, stereo = (segment_of(np.tile(waveform, (count, 1)), 44100) for count in (1, 2))
    quick, of_stereo = encode_audio(mono, "mp3"), encode_audio(stereo, "mp3")
    quick_stereo = encode_audio(stereo, "mp3", bitrate_kbps=256)
    monkeypatch.setattr(encoder_module, "_PLENTY_KBPS_PER_CHANNEL", 1000)
    searched = encode_audio(mono, "mp3")
    assert quick != searched
    assert len(quick) == len(searched)
    assert encode_audio(stereo, "mp3") == of_stereo
    assert encode_audio(stereo, "mp3", bitrate_kbps=256) != quick_stereo
    noise_db, least_db = (
        octaves_of_noise_db(waveform, waveform_from_segment(decode_audio(data)), 44100)
        for data in (quick, searched)
    )
    assert noise_db.mean() < least_db.mean() + 1
    assert (noise_db < -20).all()


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("aiff", {}, "mp3, wav, flac, ogg, m4a"),
        ("mp3", {"bitrate_kbps": 0}, "from 32 to 320"),
        ("ogg", {"bitrate_kbps": 1000}, "from 16 to 256"),
        ("wav", {"bitrate_kbps": 128}, "lossless"),
    ],
)
def test_bad_options(format, options, message):
    with pytest.raises(InputError, match=message):
        encode_audio(segment_of(chord(100, 44100), 44100), format, **options)


def test_nothing_to_encode():
    for format in FORMATS:
        with pytest.raises(InputError, match="no samples"):
            encode_audio(segment_of(np.zeros((1, 0)), 44100), format)
    with pytest.raises(InputError, match="channels=9"):
        encode_audio(segment_of(np.zeros((9, 10)), 44100), "wav")
