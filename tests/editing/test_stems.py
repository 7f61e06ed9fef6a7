"""Stems add up to the recording bit for bit, whatever a separator says; and remixes of them."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.stems import remixed, stem_blocks, write_remix, write_stems
from riffusion.errors import InputError
from tests.editing.halves import Halves
from tests.editing.recordings import noise_of, read, write

KINDS = list(itertools.product(["wav", "flac"], [16, 24], [1, 2], [22_050, 44_100, 48_000, 96_000]))


class Estimates:
    """A separator that says anything: noise far beyond full scale, in blocks of several sizes."""

    names = ("first", "second", "third", "rest")

    def __init__(self, level: float) -> None:
        self._level = level

    def __call__(self, recording: Recording) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(1)
        sizes = itertools.cycle([1, 700, 4_096])
        position = 0
        while position < recording.num_samples:
            size = min(next(sizes), recording.num_samples - position)
            noise = generator.standard_normal((3, recording.num_channels, size))
            yield (self._level * noise).astype(np.float32)
            position += size


@pytest.mark.parametrize(("format", "bits", "count", "rate"), KINDS)
def test_files_of_stems_add_up_to_the_input(
    format: str, bits: int, count: int, rate: int, tmp_path: Path
) -> None:
    samples = noise_of(bits, count, round(0.6 * rate) + 3)
    source = write(tmp_path / f"in.{format}", samples, rate, bits)
    separator = SpectralSeparator(num_blocks=5)
    paths = {name: tmp_path / f"{name}.{format}" for name in separator.names}
    done: list[tuple[int, int]] = []
    with Recording.open(source) as recording:
        write_stems(recording, separator, paths, lambda *at: done.append(at))
    stems = [read(path, rate, bits).astype(np.int64) for path in paths.values()]
    assert np.array_equal(np.sum(stems, axis=0), samples)
    assert all(np.abs(stem).max() > 2**20 for stem in stems)  # none is empty
    assert len(done) > 2 and done[-1] == (samples.shape[1], samples.shape[1])


@pytest.mark.parametrize("level", [1e-9, 0.5, 50.0])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_stems_fit_their_samples_and_add_up_however_loud_they_are(
    bits: int, level: float, tmp_path: Path
) -> None:
    samples = noise_of(bits, 2, 20_000)
    samples[:, :2] = [[2**31 - 1 >> 32 - bits << 32 - bits, -(2**31)]] * 2
    source = write(tmp_path / "in.wav", samples, 44_100, bits)
    with Recording.open(source) as recording:
        stems = np.concatenate(list(stem_blocks(recording, Estimates(level))), axis=2)
        whole = recording.samples(0, recording.num_samples)
    assert stems.shape == (4, *whole.shape)
    assert np.array_equal(stems.sum(axis=0), whole)
    full = np.iinfo(whole.dtype)
    assert stems.min() >= full.min and stems.max() <= full.max
    if bits == 24:
        assert not np.any(stems & 0xFF)


@pytest.mark.parametrize("bits", [16, 24])
def test_a_remix_without_a_change_is_the_input(bits: int, tmp_path: Path) -> None:
    samples = noise_of(bits, 2, 30_000)
    source = write(tmp_path / "in.flac", samples, 48_000, bits)
    with Recording.open(source) as recording:
        for gains in ({}, {"drums": 1.0, "bass": 1.0}):
            write_remix(recording, SpectralSeparator(), gains, tmp_path / "out.flac")
            assert np.array_equal(read(tmp_path / "out.flac", 48_000, bits), samples)


@pytest.mark.parametrize("bits", [16, 24])
def test_gains_are_factors_of_the_stems(bits: int, tmp_path: Path) -> None:
    samples = noise_of(bits, 1, 30_000) // 4
    source = write(tmp_path / "in.wav", samples, 48_000, bits)
    step = 2 ** (32 - bits)
    with Recording.open(source) as recording:
        for gain, other in ((0.0, 1.0), (1.0, 0.0), (3.0, 1.0), (0.5, 0.25)):
            gains = {"half": gain, "rest": other}
            write_remix(recording, Halves(), gains, tmp_path / "out.wav")
            result = read(tmp_path / "out.wav", 48_000, bits)
            expected = samples / step // 1 * step * (gain + other) / 2
            assert np.abs(result - expected).max() <= 2.5 * step
        write_remix(recording, Halves(), {"half": 0.0, "rest": 0.0}, tmp_path / "out.wav")
        assert not read(tmp_path / "out.wav", 48_000, bits).any()


def test_a_remix_that_is_too_loud_clips_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.full((1, 30_000), 2**30, np.int32)
    samples[:, ::2] *= -1
    source = write(tmp_path / "in.wav", samples, 48_000, 16)
    with Recording.open(source) as recording, caplog.at_level(logging.WARNING):
        quiet = np.concatenate(list(remixed(recording, Halves(), {"half": 2.9})), axis=1)
        assert not caplog.records
        loud = np.concatenate(list(remixed(recording, Halves(), {"half": 7.0})), axis=1)
    assert np.abs(quiet.astype(int)).max() == pytest.approx(0.975 * 2**15, rel=1e-3)
    assert loud.max() == 2**15 - 1 and loud.min() == -(2**15)
    (record,) = caplog.records
    assert "reaches 6.1 dB above full scale" in record.getMessage()


@pytest.mark.parametrize("gains", [{"vocals": 2.0}, {"vocals": 0.0}])
def test_unknown_stems_are_refused_with_the_list(gains: dict[str, float], tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", noise_of(16, 1, 1_000), 48_000, 16)
    message = "'vocals' is not a stem; use drums, bass, harmonic, residual"
    separator = SpectralSeparator()
    with Recording.open(source) as recording:
        with pytest.raises(InputError, match=message):
            write_remix(recording, separator, gains, tmp_path / "out.wav")
        with pytest.raises(InputError, match=message):
            write_stems(recording, separator, {"vocals": tmp_path / "out.wav"})
        for gain in (-1.0, 1e-3, 101.0, float("nan"), float("inf")):
            with pytest.raises(InputError, match="of bass must be 0, or from -40 to 40 dB"):
                write_remix(recording, separator, {"bass": gain}, tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_failure_leaves_no_stem_behind(tmp_path: Path) -> None:
    class Failing(Estimates):
        def __call__(self, recording: Recording) -> Iterator[np.ndarray]:
            yield from itertools.islice(super().__call__(recording), 3)
            raise RuntimeError("the tape is torn")

    source = write(tmp_path / "in.wav", noise_of(16, 1, 50_000), 48_000, 16)
    (tmp_path / "first.wav").write_bytes(b"an older file")
    separator = Failing(0.1)
    paths = {name: tmp_path / f"{name}.wav" for name in separator.names}
    with Recording.open(source) as recording, pytest.raises(RuntimeError, match="torn"):
        write_stems(recording, separator, paths)
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", "first.wav"}
    assert (tmp_path / "first.wav").read_bytes() == b"an older file"
