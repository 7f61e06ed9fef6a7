"""Spliced recordings: kept samples are the input's bit for bit, read back by another library."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import MEDIA_TYPES, Recording, Waveform, num_samples, read_audio
from riffusion.editing.splicing import (
    MAX_JOIN_S,
    Kept,
    New,
    check_parts,
    replacing,
    spliced,
    write_spliced,
)
from riffusion.errors import InputError
from tests.audio.audio_signals import chord, sine
from tests.editing.recordings import Integers, noise_of, read, write

KINDS = list(itertools.product(["wav", "flac"], [16, 24], [1, 2], [22_050, 44_100, 48_000, 96_000]))
STEP_OF_24_BITS = 2.0**-23


def new_sound(length: int, rate: int, count: int) -> Waveform:
    return 0.7 * chord(length, rate, count)


@pytest.mark.parametrize("change", [-0.15, 0.0, 0.15])
@pytest.mark.parametrize(("format", "bits", "count", "rate"), KINDS)
def test_outside_of_a_new_part_every_bit_is_the_inputs(
    format: str, bits: int, count: int, rate: int, change: float, tmp_path: Path
) -> None:
    samples = noise_of(bits, count, round(0.8 * rate) + 7)
    source = write(tmp_path / f"in.{format}", samples, rate, bits)
    target = tmp_path / f"out.{format}"
    start, stop = round(0.25 * rate) + 1, round(0.55 * rate)
    new = new_sound(stop - start + round(change * rate), rate, count)
    with Recording.open(source) as recording:
        written = write_spliced(recording, replacing(recording, start, stop, New(new)), target)
    result = read(target, rate, bits)
    end = start + new.shape[1]
    assert written == result.shape[1] == end + samples.shape[1] - stop
    assert np.array_equal(result[:, :start], samples[:, :start])
    assert np.array_equal(result[:, end:], samples[:, stop:])
    join = int(MAX_JOIN_S * rate)
    inside = result[:, start + join : end - join] / 2.0**31
    step = 2.0 ** (1 - bits)
    assert np.abs(inside - new[:, join:-join]).max() <= step / 2 + 2.0**-25


@pytest.mark.parametrize("parts_first", [True, False])
def test_a_join_is_a_crossfade_with_the_recordings_own_sound(
    parts_first: bool, tmp_path: Path
) -> None:
    """Between two equal tones the join can't be seen, whether or not the tone was replaced."""
    rate = 48_000
    tone = sine(440, 0.5, 1.0, rate)
    samples = (np.rint(tone * 2.0**23).astype(np.int32)) << 8
    source = write(tmp_path / "in.wav", samples, rate, 24)
    new = tone[:, 20_000:30_000]
    pieces: Waveform | list[Waveform] = new if parts_first else np.split(new, 10, axis=1)
    with Recording.open(source) as recording:
        parts = replacing(recording, 20_000, 30_000, New(pieces))
        result = np.concatenate(list(spliced(recording, parts)), axis=1)
    assert np.abs(result / 2.0**31 - tone).max() <= STEP_OF_24_BITS


def test_in_the_joins_old_and_new_sound_are_mixed(tmp_path: Path) -> None:
    rate, join = 44_100, 882
    samples = np.full((1, rate), 8_000 << 16, np.int32)
    source = write(tmp_path / "in.wav", samples, rate, 16)
    new = np.full((1, 10_000), 8_000 / 2**15, np.float32) * np.float32(-1)
    with Recording.open(source) as recording:
        parts = replacing(recording, 15_000, 30_000, New(new))
        result = np.concatenate(list(spliced(recording, parts)), axis=1)[0]
    assert np.all(result[:15_000] == 8_000) and np.all(result[25_000:] == 8_000)
    assert np.all(result[15_000 + join : 25_000 - join] == -8_000)
    falling, rising = result[15_000 : 15_000 + join], result[25_000 - join : 25_000]
    assert np.all(np.diff(falling) <= 0) and np.all(np.diff(rising) >= 0)
    assert abs(int(falling[join // 2])) < 30 and abs(int(rising[join // 2])) < 30


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_a_region_at_an_end_has_one_join(count: int, at_start: bool, tmp_path: Path) -> None:
    rate = 44_100
    samples = noise_of(16, count, rate)
    source = write(tmp_path / "in.flac", samples, rate, 16)
    new = new_sound(9_000, rate, count)
    start, stop = (0, 12_000) if at_start else (rate - 12_000, rate)
    with Recording.open(source) as recording:
        write_spliced(recording, replacing(recording, start, stop, New(new)), tmp_path / "out.flac")
    result = read(tmp_path / "out.flac", rate, 16)
    assert result.shape[1] == rate - 12_000 + 9_000
    kept = slice(9_000, None) if at_start else slice(0, rate - 12_000)
    assert np.array_equal(result[:, kept], samples[:, 12_000:] if at_start else samples[:, kept])
    replaced = result[:, :9_000] if at_start else result[:, -9_000:]
    free = slice(0, 9_000 - 882) if at_start else slice(882, None)
    assert np.abs(replaced[:, free] / 2.0**31 - new[:, free]).max() <= 2.0**-16 + 2.0**-25


@pytest.mark.parametrize("join_s", [0.0, 0.005, 0.02])
def test_beyond_an_end_the_join_is_in_the_recordings_last_samples(
    join_s: float, tmp_path: Path
) -> None:
    rate = 48_000
    join = round(join_s * rate)
    samples = noise_of(24, 2, 20_000)
    source = write(tmp_path / "in.wav", samples, rate, 24)
    before, after = new_sound(7_000, rate, 2), new_sound(8_000, rate, 2)
    with Recording.open(source) as recording:
        parts = [New(before, join_s), Kept(0, 20_000), New(after, join_s)]
        written = write_spliced(recording, parts, tmp_path / "out.wav")
    result = read(tmp_path / "out.wav", rate, 24)
    assert written == result.shape[1] == 7_000 + 20_000 + 8_000 - 2 * join
    inner = result[:, 7_000 : 7_000 + 20_000 - 2 * join]
    assert np.array_equal(inner, samples[:, join : 20_000 - join])
    assert np.abs(result[:, : 7_000 - join] / 2.0**31 - before[:, : 7_000 - join]).max() < 1e-6
    assert np.abs(result[:, -(8_000 - join) :] / 2.0**31 - after[:, join:]).max() < 1e-6


def test_several_new_parts_of_several_lengths(tmp_path: Path) -> None:
    rate = 22_050
    samples = noise_of(24, 2, 3 * rate)
    source = write(tmp_path / "in.flac", samples, rate, 24)
    lengths = [1, 2, 100, 5_000, 70_000]
    parts: list[Kept | New] = []
    expected: list[Integers | int] = []
    for index, length in enumerate(lengths):
        kept = slice(10_000 * index, 10_000 * index + 6_000)
        parts += [Kept(kept.start, kept.stop), New(new_sound(length, rate, 2))]
        expected += [samples[:, kept], length]
    parts.append(Kept(60_000, 66_150))
    expected.append(samples[:, 60_000:])
    with Recording.open(source) as recording:
        write_spliced(recording, parts, tmp_path / "out.flac")
    result = read(tmp_path / "out.flac", rate, 24)
    position = 0
    for part in expected:
        if isinstance(part, int):
            position += part
            continue
        assert np.array_equal(result[:, position : position + part.shape[1]], part)
        position += part.shape[1]
    assert position == result.shape[1]


def test_kept_parts_may_be_cut_out_repeated_and_reordered(tmp_path: Path) -> None:
    samples = noise_of(16, 1, 30_000)
    source = write(tmp_path / "in.wav", samples, 44_100, 16)
    parts = [Kept(20_000, 30_000), Kept(0, 5), Kept(0, 5), Kept(100, 101)]
    with Recording.open(source) as recording:
        write_spliced(recording, parts, tmp_path / "out.wav")
    result = read(tmp_path / "out.wav", 44_100, 16)
    ranges = [samples[:, part.start : part.stop] for part in parts]
    assert np.array_equal(result, np.concatenate(ranges, axis=1))


@pytest.mark.parametrize("sizes", [[12_000], [1] * 10 + [11_990], [3_000] * 4, [11_999, 0, 1]])
def test_pieces_of_any_size_give_the_same_file(sizes: list[int], tmp_path: Path) -> None:
    rate = 44_100
    samples = noise_of(16, 2, 60_000)
    source = write(tmp_path / "in.wav", samples, rate, 16)
    new = new_sound(12_000, rate, 2)

    def pieces() -> Iterator[Waveform]:
        yield from np.split(new, np.cumsum(sizes)[:-1], axis=1)

    with Recording.open(source) as recording:
        for name, audio in (("whole.wav", new), ("pieces.wav", pieces())):
            parts = replacing(recording, 20_000, 40_000, New(audio))
            write_spliced(recording, parts, tmp_path / name)
    assert (tmp_path / "whole.wav").read_bytes() == (tmp_path / "pieces.wav").read_bytes()


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_every_format_has_the_exact_length(format: str, tmp_path: Path) -> None:
    rate = 48_000
    source = write(tmp_path / "in.wav", noise_of(16, 2, rate) // 4, rate, 16)
    target = tmp_path / f"out.{format}"
    with Recording.open(source) as recording:
        parts = replacing(recording, 10_000, 20_000, New(new_sound(11_111, rate, 2)))
        write_spliced(recording, parts, target)
    assert num_samples(read_audio(target)) == rate + 1_111


def test_new_samples_beyond_full_scale_clip(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", noise_of(24, 1, 30_000), 44_100, 24)
    with Recording.open(source) as recording:
        new = New(np.full((1, 9_000), 3, np.float32))
        write_spliced(recording, replacing(recording, 9_000, 20_000, new), tmp_path / "out.wav")
    result = read(tmp_path / "out.wav", 44_100, 24)
    assert np.all(result[:, 9_900:17_000] == (2**23 - 1) << 8)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    source = write(tmp_path / "in.wav", noise_of(16, 2, 30_000), 44_100, 16)
    with Recording.open(source) as opened:
        yield opened


STEREO = np.zeros((2, 5_000), np.float32)
REFUSED = {
    "nothing": ([], "parts is empty"),
    "reversed": ([Kept(20, 10)], "start=20, stop=10 of a kept part must be a region inside"),
    "empty": ([Kept(20, 20)], "start=20, stop=20"),
    "before the start": ([Kept(-1, 20)], "start=-1"),
    "beyond the end": ([Kept(0, 30_001)], "stop=30001.*recording of 30000 samples"),
    "other channels": ([New(STEREO[:1])], "a new part has 1 channels, the recording has 2"),
    "no samples": ([New(STEREO[:, :0])], "a new part has no samples"),
    "a long join": ([New(STEREO, 0.021)], "join_s=0.021 must be from 0 to 0.02 seconds"),
    "not a number": ([New(STEREO, float("nan"))], "join_s=nan"),
    "integers": ([New(STEREO.astype(np.int16))], "dtype=int16 must be a float type"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_parts_are_refused_before_anything_is_written(
    name: str, recording: Recording, tmp_path: Path
) -> None:
    parts, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        check_parts(recording, parts)
    with pytest.raises(InputError, match=message):
        write_spliced(recording, parts, tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("region", [(10, 5), (-1, 5), (0, 30_001)])
def test_regions_outside_the_recording_are_refused(
    region: tuple[int, int], recording: Recording
) -> None:
    with pytest.raises(InputError, match=f"start={region[0]}, stop={region[1]} must be a region"):
        replacing(recording, *region, New(STEREO))


@pytest.mark.parametrize("format", MEDIA_TYPES)
@pytest.mark.parametrize("old", [b"an older file", None])
def test_a_file_is_written_whole_or_not_at_all(
    old: bytes | None, format: str, recording: Recording, tmp_path: Path
) -> None:
    target = tmp_path / f"out.{format}"
    if old is not None:
        target.write_bytes(old)

    def failing() -> Iterator[Waveform]:
        yield STEREO
        raise RuntimeError("out of ideas")

    def not_finite() -> Iterator[Waveform]:
        yield STEREO
        yield np.full((2, 5_000), np.nan, np.float32)

    def nothing() -> Iterator[Waveform]:
        yield STEREO[:, :0]

    for audio, kind, message in (
        (failing(), RuntimeError, "out of ideas"),
        (not_finite(), InputError, "NaN or infinite"),
        (nothing(), InputError, "no samples"),
    ):
        with pytest.raises(kind, match=message):
            write_spliced(recording, replacing(recording, 9_000, 20_000, New(audio)), target)
        assert (target.read_bytes() if target.exists() else None) == old
    expected = {"in.wav"} | ({target.name} if old is not None else set())
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_the_input_itself_may_be_replaced(tmp_path: Path) -> None:
    samples = noise_of(16, 1, 30_000)
    path = write(tmp_path / "song.wav", samples, 44_100, 16)
    with Recording.open(path) as recording:
        write_spliced(recording, [Kept(500, 30_000)], path)
    assert np.array_equal(read(path, 44_100, 16), samples[:, 500:])
    assert len(list(tmp_path.iterdir())) == 1
