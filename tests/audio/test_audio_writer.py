"""AudioWriter: exact lengths, reproducible bytes, and files that can be played if it is stopped."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from riffusion.audio import (
    MEDIA_TYPES,
    Audio,
    AudioWriter,
    Waveform,
    num_samples,
    read_audio,
    resample,
    segment_from_audio,
    waveform_from_segment,
)
from riffusion.audio.formats import LOSSY_CODECS
from riffusion.audio.pcm import Pcm
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, noise, offset_of, snr_db

FORMATS = list(MEDIA_TYPES)
RATE = 44100
LENGTH = 512 * 441
SNR_DB = {"wav": 75.0, "flac": 75.0, "mp3": 20.0, "ogg": 18.0, "m4a": 20.0}
"""As in test_audio_codecs.py, where whole clips are encoded."""
MOST_LOST_S = 6.0
"""Length missing from an incomplete file: a fragment of m4a, or FFmpeg's buffers."""


def long_audio(
    num_parts: int, length: int = LENGTH, channels: int = 1, rate: int = RATE
) -> tuple[Waveform, list[Audio]]:
    """A long waveform, whole and in parts."""
    total = num_parts * length
    whole = chord(total, rate, channels) + noise(total, channels, rms=0.005)
    return whole, [Audio(part, rate) for part in np.split(whole, num_parts, axis=1)]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("format", FORMATS)
def test_parts_join_without_a_gap(format: str, rate: int, channels: int, tmp_path: Path) -> None:
    whole, parts = long_audio(4, 12345, channels, rate)
    path = tmp_path / f"a.{format}"
    for _ in range(2):
        before = path.read_bytes() if path.exists() else None
        with AudioWriter(path, parts[0]) as writer:
            for part in parts:
                writer.write(part)
    assert path.read_bytes() == before
    assert writer.duration_s == pytest.approx(4 * 12345 / rate)
    result = read_audio(path)
    expected = resample(whole, rate, 48000 if format == "ogg" else rate)
    decoded = waveform_from_segment(result)
    assert decoded.shape == expected.shape
    assert offset_of(expected, decoded) == 0
    assert snr_db(expected, decoded) > SNR_DB[format]


@pytest.mark.parametrize("format", FORMATS)
def test_an_incomplete_file_can_be_played(format: str, tmp_path: Path) -> None:
    """A copy of the file in the middle of a jam, as after a power failure."""
    _, parts = long_audio(4)
    path, copy = tmp_path / f"a.{format}", tmp_path / f"b.{format}"
    with AudioWriter(path, parts[0]) as writer:
        for part in parts:
            writer.write(part)
        copy.write_bytes(path.read_bytes())
    result = read_audio(copy)
    duration_s = num_samples(result) / result.frame_rate
    assert 4 * LENGTH / RATE - MOST_LOST_S < duration_s <= 4 * LENGTH / RATE + 0.1


FULL_DISK = """
import resource, sys
import numpy as np
from riffusion.audio import Audio, AudioWriter
from riffusion.audio.pcm import Pcm
from riffusion.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(512 * 441) / 44100)
tone += np.random.default_rng(1).normal(0, 0.02, tone.size)
audio = Audio(tone[None], 44100)
try:
    with AudioWriter(sys.argv[1], audio) as writer:
        for _ in range(8):
            writer.write(audio)
except InputError as error:
    print(error)
"""
"""No file of this process grows beyond 200,000 bytes."""


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_keeps_what_fits(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"path={str(path)!r} cannot be written (File too large); make ro")
    assert len(done.stdout.splitlines()) == 1
    assert path.stat().st_size == 200_000
    result = read_audio(path)
    assert num_samples(result) / result.frame_rate > 1.5  # wav, the largest, takes 88,200 a second


def test_audio_of_another_format_is_refused(tmp_path: Path) -> None:
    _, (mono,) = long_audio(1, 4410)
    _, (stereo,) = long_audio(1, 4410, 2)
    with AudioWriter(tmp_path / "a.wav", mono) as writer:
        writer.write(mono)
        message = "44100 Hz, 2 channels, 16 bits follows audio of 44100 Hz, 1 channel, 16 bits"
        with pytest.raises(InputError, match=message):
            writer.write(stereo)
    assert num_samples(read_audio(tmp_path / "a.wav")) == 4410


@pytest.mark.parametrize("name", ["nowhere/a.mp3", "a.xyz", "full.wav"])
def test_places_that_cannot_be_written_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "full.wav").symlink_to("/dev/full")
    _, (audio,) = long_audio(1)
    with (
        pytest.raises(InputError, match=name.split("/")[0]),
        AudioWriter(tmp_path / name, audio) as writer,
    ):
        writer.write(audio)


def test_waveforms_and_their_segments_give_the_same_file(tmp_path: Path) -> None:
    _, parts = long_audio(2, 4410)
    segments = [segment_from_audio(part) for part in parts]
    for name, clips in (("a.mp3", parts), ("b.mp3", segments)):
        with AudioWriter(tmp_path / name, clips[0]) as writer:
            for clip in clips:
                writer.write(clip)
    assert (tmp_path / "a.mp3").read_bytes() == (tmp_path / "b.mp3").read_bytes()


@pytest.mark.parametrize("format", ["mp3", "ogg"])
def test_many_channels_are_mixed_to_stereo_in_lossy_formats(format: str, tmp_path: Path) -> None:
    _, parts = long_audio(2, 4410, 3)
    path = tmp_path / f"a.{format}"
    with AudioWriter(path, parts[0]) as writer:
        for part in parts:
            writer.write(part)
    result = read_audio(path)
    assert result.channels == 2
    assert num_samples(result) == round(2 * 4410 * result.frame_rate / RATE)


WHOLE_ON_A_FULL_DISK = FULL_DISK.replace("audio)", "audio, is_whole=True)", 1)


@pytest.mark.parametrize("format", FORMATS)
def test_on_a_full_disk_a_whole_file_is_not_written_at_all(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format}"
    path.write_bytes(b"an older file")
    command = [sys.executable, "-c", WHOLE_ON_A_FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"path={str(path)!r} cannot be written (File too large); make ro")
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", FORMATS)
def test_whole_files_are_the_same_as_growing_ones(format: str, tmp_path: Path) -> None:
    _, parts = long_audio(3, 12345)
    for name, is_whole in (("a", True), ("b", False)):
        with AudioWriter(tmp_path / f"{name}.{format}", parts[0], is_whole=is_whole) as writer:
            for part in parts:
                writer.write(part)
    whole, growing = (tmp_path / f"{name}.{format}" for name in "ab")
    assert whole.read_bytes() == growing.read_bytes()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
def test_wav_files_of_24_bits_keep_them_and_round_what_has_more(
    rate: int, channels: int, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    samples = generator.integers(-(2**31), 2**31, (channels, 5_000), dtype=np.int64)
    samples[:, :2_000] &= ~0xFF  # 24 bits
    samples[:, 2_000] = 2**31 - 1
    pcm = Pcm(samples.astype(np.int32), rate)
    path = tmp_path / "a.wav"
    with AudioWriter(path, pcm, bits=24) as writer:
        writer.write(pcm)
        writer.write(pcm)
    assert soundfile.info(path).subtype == "PCM_24"
    read, _ = soundfile.read(path, dtype="int32", always_2d=True)
    expected = np.minimum((samples + 128) >> 8, 2**23 - 1) << 8
    assert np.array_equal(expected[:, :2_000], samples[:, :2_000])
    assert np.array_equal(read.T, np.concatenate([expected, expected], axis=1))


@pytest.mark.parametrize("rate", [65_535, 65_540, 96_000, 96_001, 192_005])
def test_rates_that_a_flac_cannot_hold_are_refused_and_leave_no_file(
    rate: int, tmp_path: Path
) -> None:
    like = Pcm(np.zeros((1, 1000), np.int16), rate)
    path = tmp_path / "a.flac"
    if rate < 65_536 or rate % 10 == 0:
        with AudioWriter(path, like, is_whole=True) as writer:
            writer.write(like)
        assert soundfile.info(path).samplerate == rate
        return
    with pytest.raises(InputError, match=f"sample_rate={rate} must be a multiple of 10 Hz"):
        AudioWriter(path, like, is_whole=True)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_refuses_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = LOSSY_CODECS["mp3"]
    monkeypatch.setitem(LOSSY_CODECS, "mp3", dataclasses.replace(codec, encoder="no_such_encoder"))
    path = tmp_path / "a.mp3"
    path.write_bytes(b"before")
    with pytest.raises(Exception, match="no_such_encoder"):
        AudioWriter(path, Pcm(np.zeros((1, 10), np.int16), 44_100), is_whole=True)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp3"]
    assert path.read_bytes() == b"before"
