"""The difference of two recordings: exact, clipped where it must be, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.difference import write_difference
from riffusion.errors import InputError
from tests.editing.recordings import Integers, noise_of, read, write

RATE = 8000
LENGTH = 70_001
"""More than a block."""


def quiet(bits: int, count: int, seed: int) -> Integers:
    """Noise at a quarter of full scale, whose differences don't clip."""
    samples = noise_of(bits, count, LENGTH, seed).astype(np.int64) // 4
    return (samples >> (32 - bits) << (32 - bits)).astype(np.int32)


@pytest.mark.parametrize("extension", ["wav", "flac"])
@pytest.mark.parametrize(("bits", "count"), [((16, 16), 1), ((24, 24), 2), ((16, 24), 2)])
def test_before_and_the_difference_add_up_to_after(
    bits: tuple[int, int], count: int, extension: str, tmp_path: Path
) -> None:
    samples = [quiet(bits[0], count, 0), quiet(bits[1], count, 1)]
    samples[1][:, :300], samples[1][:, -200:] = samples[0][:, :300], samples[0][:, -200:]
    samples[1][0, 300] = samples[0][0, 300] + 2**20  # even if the noises agree there
    samples[1][0, -201] = samples[0][0, -201] + 2**20
    paths = [
        write(tmp_path / f"{index}.{extension}", samples[index], RATE, bits[index])
        for index in range(2)
    ]
    target = tmp_path / f"difference.{extension}"
    with Recording.open(paths[0]) as before, Recording.open(paths[1]) as after:
        found = write_difference(before, after, target)
    difference = read(target, RATE, max(bits))
    assert np.array_equal(samples[0] + difference, samples[1])
    assert (found.start, found.stop, found.num_clipped) == (300, LENGTH - 200, 0)
    assert found.peak == np.abs(difference.astype(np.int64)).max() / 2**31


@pytest.mark.parametrize("bits", [16, 24])
def test_differences_beyond_full_scale_clip_and_are_counted(bits: int, tmp_path: Path) -> None:
    step = 2 ** (32 - bits)
    lowest, highest = -(2**31), 2**31 - step
    before = np.array([[0, lowest, highest, highest, -step, 5 * step]], np.int64)
    after = np.array([[0, highest, lowest, 0, highest, 3 * step]], np.int64)
    expected = [0, highest, lowest, -highest, highest, -2 * step]
    paths = [
        write(tmp_path / f"{index}.wav", samples.astype(np.int32), RATE, bits)
        for index, samples in enumerate((before, after))
    ]
    with Recording.open(paths[0]) as old, Recording.open(paths[1]) as new:
        found = write_difference(old, new, tmp_path / "difference.wav")
    assert read(tmp_path / "difference.wav", RATE, bits).tolist() == [expected]
    assert found.num_clipped == 3
    assert found.peak == (highest - lowest) / 2**31


def test_equal_recordings_have_no_difference(tmp_path: Path) -> None:
    path = write(tmp_path / "in.wav", quiet(16, 2, 0), RATE, 16)
    with Recording.open(path) as before, Recording.open(path) as after:
        found = write_difference(before, after, tmp_path / "difference.flac")
    assert (found.start, found.stop, found.num_clipped, found.peak) == (0, 0, 0, 0)
    assert not read(tmp_path / "difference.flac", RATE, 16).any()


@pytest.mark.parametrize(
    ("count", "rate", "length", "message"),
    [
        (1, RATE, LENGTH - 1, "after: the recordings have 70001 and 70000 samples"),
        (1, 16_000, LENGTH, "after: the recordings have 8000 Hz and 16000 Hz"),
        (2, RATE, LENGTH, "after: the recordings have 1 and 2 channels"),
    ],
)
def test_recordings_that_do_not_correspond_are_refused(
    count: int, rate: int, length: int, message: str, tmp_path: Path
) -> None:
    one = write(tmp_path / "before.wav", quiet(16, 1, 0), RATE, 16)
    other = write(tmp_path / "after.wav", quiet(16, count, 1)[:, :length], rate, 16)
    target = tmp_path / "difference.wav"
    with (
        Recording.open(one) as before,
        Recording.open(other) as after,
        pytest.raises(InputError, match=message),
    ):
        write_difference(before, after, target)
    assert not target.exists()
