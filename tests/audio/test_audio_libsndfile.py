"""Codecs against libsndfile, which has codecs of its own."""

import io

import numpy as np
import pytest
import soundfile

from riffusion.audio import decode_audio, encode_audio, resample, waveform_from_segment
from tests.audio.audio_signals import chord, noise, offset_of, snr_db
from tests.audio.codec_limits import SNR_DB, segment_of


@pytest.mark.parametrize("format", ["mp3", "wav", "flac", "ogg"])
def test_libsndfile_reads_what_we_write(format):
    waveform = chord(30011, 44100, 2) + noise(30011, 2, rms=0.005)
    data = encode_audio(segment_of(waveform, 44100), format)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    expected = resample(waveform, 44100, rate)
    assert samples.T.shape == expected.shape
    assert offset_of(expected, samples.T) == 0
    assert snr_db(expected, samples.T) > SNR_DB[format]


@pytest.mark.parametrize(
    ("container", "subtype", "sample_width", "least_snr_db"),
    [
        ("WAV", "PCM_U8", 2, 25),
        ("WAV", "PCM_16", 2, 75),
        ("WAV", "PCM_24", 4, 120),
        ("WAV", "PCM_32", 4, 140),
        ("WAV", "FLOAT", 4, 140),
        ("WAV", "DOUBLE", 4, 140),
        ("WAVEX", "PCM_24", 4, 120),
        ("WAV", "ULAW", 2, 30),
        ("RF64", "PCM_16", 2, 75),
        ("W64", "PCM_16", 2, 75),
        ("AIFF", "PCM_16", 2, 75),
        ("AIFF", "PCM_24", 4, 120),
        ("AU", "PCM_16", 2, 75),
        ("CAF", "ALAC_24", 4, 120),
        ("FLAC", "PCM_24", 4, 120),
        ("FLAC", "PCM_S8", 2, 25),
        ("OGG", "VORBIS", 2, 15),
        ("OGG", "OPUS", 2, 15),
        ("MP3", "MPEG_LAYER_III", 2, 15),
    ],
)
def test_we_read_what_libsndfile_writes(container, subtype, sample_width, least_snr_db):
    waveform = chord(30011, 48000, 2) + noise(30011, 2, rms=0.005)
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.T, 48000, format=container, subtype=subtype)
    result = decode_audio(buffer.getvalue())
    decoded = waveform_from_segment(result)
    assert (result.frame_rate, result.sample_width) == (48000, sample_width)
    assert decoded.shape == waveform.shape
    assert offset_of(waveform, decoded) == 0
    assert snr_db(waveform, decoded) > least_snr_db


def test_floats_beyond_full_scale_clip():
    buffer = io.BytesIO()
    samples = np.array([2.0, -3.0, np.nan, np.inf, 0.25], dtype=np.float32)
    soundfile.write(buffer, samples, 44100, format="WAV", subtype="FLOAT")
    decoded = waveform_from_segment(decode_audio(buffer.getvalue()))[0]
    assert decoded == pytest.approx([1, -1, 0, 1, 0.25], abs=1e-6)
