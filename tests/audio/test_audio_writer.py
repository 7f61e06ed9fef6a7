"""Files that grow: as long as their segments, the same bytes again, playable whatever ends them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import (
    MEDIA_TYPES,
    AudioWriter,
    num_samples,
    read_audio,
    resample,
    segment_from_waveform,
    take_over,
    waveform_from_segment,
)
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, noise, offset_of, snr_db

FORMATS = list(MEDIA_TYPES)
RATE = 44100
LENGTH = 512 * 441
SNR_DB = {"wav": 75.0, "flac": 75.0, "mp3": 20.0, "ogg": 18.0, "m4a": 20.0}
"""As in test_audio_codecs.py, where one segment is encoded."""
FADE_TOLERANCE = 2e-4
"""Full scale: roundings to 16 bits."""
MOST_LOST_S = 6.0
"""Of a file that nobody completed: a fragment of m4a, or what FFmpeg holds in its buffers."""


def sounds(num_segments: int, length: int = LENGTH, channels: int = 1, rate: int = RATE):
    """One long sound in parts."""
    whole = chord(num_segments * length, rate, channels) + noise(
        num_segments * length, channels, rms=0.005
    )
    parts = np.split(whole, num_segments, axis=1)
    return whole, [segment_from_waveform(part, rate) for part in parts]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22050, 44100])
@pytest.mark.parametrize("format", FORMATS)
def test_parts_become_one_sound(format: str, rate: int, channels: int, tmp_path: Path) -> None:
    whole, parts = sounds(4, 12345, channels, rate)
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
def test_what_nobody_completed_can_be_played(format: str, tmp_path: Path) -> None:
    """As after a power failure: the file as it is on the disk in the middle of a jam."""
    _, parts = sounds(4)
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
from riffusion.audio import AudioWriter, segment_from_waveform
from riffusion.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(512 * 441) / 44100)
tone += np.random.default_rng(1).normal(0, 0.02, tone.size)
segment = segment_from_waveform(tone[None], 44100)
try:
    with AudioWriter(sys.argv[1], segment) as writer:
        for _ in range(8):
            writer.write(segment)
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


def test_segments_of_another_kind_are_refused(tmp_path: Path) -> None:
    _, (mono,) = sounds(1, 4410)
    _, (stereo,) = sounds(1, 4410, 2)
    with AudioWriter(tmp_path / "a.wav", mono) as writer:
        writer.write(mono)
        with pytest.raises(InputError, match=r"\(44100, 2, 2\).*follows one of \(44100, 1, 2\)"):
            writer.write(stereo)
    assert num_samples(read_audio(tmp_path / "a.wav")) == 4410


@pytest.mark.parametrize("name", ["nowhere/a.mp3", "a.xyz", "full.wav"])
def test_places_that_cannot_be_written_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "full.wav").symlink_to("/dev/full")
    _, (segment,) = sounds(1)
    with (
        pytest.raises(InputError, match=name.split("/")[0]),
        AudioWriter(tmp_path / name, segment) as writer,
    ):
        writer.write(segment)


def test_a_take_over_is_the_next_round_of_the_loop_before_then_the_new_loop() -> None:
    _, (first,) = sounds(1, 4410)
    second = segment_from_waveform(chord(4410, RATE) * -0.5, RATE)
    joined = waveform_from_segment(take_over(first, second, 0.01))
    assert joined.shape == (1, 4410)
    assert np.array_equal(joined[:, 441:], waveform_from_segment(second)[:, 441:])
    assert np.abs(joined[:, :8] - waveform_from_segment(first)[:, :8]).max() < 0.02
    alike = waveform_from_segment(take_over(first, first, 0.01))
    assert np.abs(alike - waveform_from_segment(first)).max() < FADE_TOLERANCE
