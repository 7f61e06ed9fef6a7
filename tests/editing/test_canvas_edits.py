"""Repaint and restyle: what changes, and above all what doesn't. With a tiny model."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.regions import MIN_RECORDING_S, Region
from riffusion.editing.repainting import repaint
from riffusion.editing.restyling import PromptAtTime, restyle
from riffusion.editing.splicing import write_spliced
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import ClipGenerator
from tests.editing.canvas_edits import RATE, edited, request, song
from tests.editing.recordings import noise_of, read, write

DURATION_S = 9.3


@pytest.mark.parametrize(
    ("region", "count", "rate", "bits", "format"),
    [
        (Region(2.0, 4.5), 2, 48_000, 24, "wav"),
        (Region(0.0, 1.1), 1, 22_050, 16, "flac"),
        (Region(8.0, DURATION_S), 2, 44_100, 24, "flac"),
        (Region(0.3, 0.4), 2, 22_050, 16, "wav"),
        (Region(4.3, 4.35), 1, 44_101, 16, "wav"),  # a little less than 0.05 in floating point
        (Region(0.0, DURATION_S), 1, 22_050, 16, "wav"),
        (Region(3.0, 5.0, low_hz=500), 2, 22_050, 16, "wav"),
    ],
)
def test_only_the_region_changes(
    generator: ClipGenerator,
    region: Region,
    count: int,
    rate: int,
    bits: int,
    format: str,
    tmp_path: Path,
) -> None:
    source = song(tmp_path / f"in.{format}", count, rate, bits)
    target = tmp_path / f"out.{format}"
    with Recording.open(source) as recording:
        write_spliced(recording, repaint(recording, generator, request(), region), target)
    before, after = read(source, rate, bits), read(target, rate, bits)
    assert after.shape == before.shape
    start, stop = round(region.from_s * rate), round(region.to_s * rate)
    assert np.array_equal(after[:, :start], before[:, :start])
    assert np.array_equal(after[:, stop:], before[:, stop:])
    inside = after[:, start:stop] != before[:, start:stop]
    assert inside.mean() > 0.9


@pytest.mark.parametrize(("low_hz", "high_hz"), [(2000, None), (None, 1000), (800, 3000)])
def test_a_band_leaves_other_frequencies_alone(
    generator: ClipGenerator, low_hz: float | None, high_hz: float | None, tmp_path: Path
) -> None:
    region = Region(3.0, 6.0, low_hz, high_hz)
    with Recording.open(song(tmp_path / "in.wav")) as recording:
        after = edited(recording, repaint(recording, generator, request(), region))
        before = edited(recording, repaint_nothing(recording))
    inside = slice(round(3.2 * RATE), round(5.8 * RATE))
    window = np.hanning(inside.stop - inside.start)
    change = np.abs(np.fft.rfft((after - before.astype(float))[:, inside] * window))
    sound = np.abs(np.fft.rfft(before[:, inside] * window))
    hz = np.fft.rfftfreq(inside.stop - inside.start, 1 / RATE)
    out = (hz < (low_hz or 0) - 20) | (hz > (high_hz or 1e9) + 20)
    assert (change[:, out] ** 2).sum() < 1e-4 * (sound[:, out] ** 2).sum()
    assert (change[:, ~out] ** 2).sum() > 1e-2 * (sound[:, ~out] ** 2).sum()


def repaint_nothing(recording: Recording) -> Any:
    from riffusion.editing.splicing import Kept

    return [Kept(0, recording.num_samples)]


def test_seed_and_prompt_decide(generator: ClipGenerator, tmp_path: Path) -> None:
    region = Region(2.0, 4.0)
    with Recording.open(song(tmp_path / "in.wav")) as recording:
        first, again, seed, prompt = (
            edited(recording, repaint(recording, generator, inputs, region))
            for inputs in (request(), request(), request(seed=2), request(prompt="bells"))
        )
    assert np.array_equal(first, again)
    for one, other in itertools.combinations((first, seed, prompt), 2):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("duration_s", [0.5, 0.73, 5.0, 9.3])
@pytest.mark.parametrize("count", [1, 2])
def test_a_restyled_recording_has_its_length(
    generator: ClipGenerator, count: int, duration_s: float, tmp_path: Path
) -> None:
    progress: list[tuple[int, int]] = []
    with Recording.open(song(tmp_path / "in.wav", count, duration_s=duration_s)) as recording:
        parts = restyle(
            recording, generator, request(), on_progress=lambda *at: progress.append(at)
        )
        after = edited(recording, parts)
        assert after.shape == (count, recording.num_samples)
    assert after.std(axis=1).min() > 0
    assert progress[-1][0] == progress[-1][1]


def test_prompts_along_the_way(generator: ClipGenerator, tmp_path: Path) -> None:
    with Recording.open(song(tmp_path / "in.wav", 1, duration_s=12.0)) as recording:
        alone, there = (
            edited(recording, restyle(recording, generator, request(), points))
            for points in ((), [PromptAtTime(12.0, "bells")])
        )
    changes = np.abs(there.astype(float) - alone).reshape(12, -1).mean(1)
    assert changes[-3:].mean() > changes[:3].mean()


def test_the_balance_of_the_channels_stays(generator: ClipGenerator, tmp_path: Path) -> None:
    samples = noise_of(16, 2, round(8 * RATE)).astype(np.int64) // 4
    samples[0, : 4 * RATE] //= 10
    samples[1, 4 * RATE :] //= 10
    whole = (samples >> 16 << 16).astype(np.int32)
    with Recording.open(write(tmp_path / "in.wav", whole, RATE, 16)) as recording:
        after = edited(recording, restyle(recording, generator, request())).astype(float)
    first, last = (
        after[:, part].std(axis=1) for part in (slice(0, 3 * RATE), slice(-3 * RATE, None))
    )
    assert first[1] > 4 * first[0]
    assert last[0] > 4 * last[1]


def test_a_cancelled_edit_ends(generator: ClipGenerator, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise GenerationCancelled("enough")

    with Recording.open(song(tmp_path / "in.wav")) as recording:
        with pytest.raises(GenerationCancelled):
            repaint(recording, generator, request(), Region(2, 4), stop)
        repaint(recording, generator, request(), Region(2, 4))


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((4.0, 2.0), "with its end after its start"),
        ((4.0, 4.0), "at least 0.05 s"),
        ((4.0, 12.0), r"12 is after the recording's end at 9\.300 s"),
        ((-1.0, 2.0), "-1 must be a finite number, 0 or more"),
        ((float("nan"), 2.0), "nan must be a finite number"),
        ((1.0, float("inf")), "inf must be a finite number"),
        ((1.0, 2.0, 900.0, 300.0), "300 must be above low_hz=900"),
        ((1.0, 2.0, -5.0), "-5 must be a finite number"),
        ((1.0, 2.0, 11_025.0), "11025 must be below 11025 Hz, half of the recording's"),
    ],
)
def test_regions_that_make_no_sense(
    region: tuple[float, ...], message: str, tmp_path: Path
) -> None:
    path = song(tmp_path / "in.wav")
    with Recording.open(path) as recording, pytest.raises(InputError, match=message):
        Region(*region).samples_of(recording)


@pytest.mark.parametrize("after_s", [-0.0004, 0.0, 0.0004])
def test_the_end_may_be_written_in_milliseconds(after_s: float, tmp_path: Path) -> None:
    with Recording.open(song(tmp_path / "in.wav", duration_s=3.21)) as recording:
        start, stop = Region(1.0, recording.duration_s + after_s).samples_of(recording)
    assert start == RATE
    assert stop == round((round(3.21 * RATE) / RATE + min(0, after_s)) * RATE)


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "message"),
    [
        (10_001.0, None, "low_hz: 10001: none of the model's 48 frequencies.* from 10001 Hz on"),
        (None, 3.0, "high_hz: 3: none of the model's 48 frequencies, from .* from 0 Hz on to 3 Hz"),
        (700.0, 700.5, "low_hz: 700: none of"),
    ],
)
def test_a_band_without_a_frequency_of_the_model_is_refused(
    generator: ClipGenerator,
    low_hz: float | None,
    high_hz: float | None,
    message: str,
    tmp_path: Path,
) -> None:
    region = Region(1.0, 2.0, low_hz, high_hz)
    path = song(tmp_path / "in.wav", rate=48_000)
    with Recording.open(path) as recording, pytest.raises(InputError, match=message):
        repaint(recording, generator, request(), region)


def test_short_recordings_are_refused(generator: ClipGenerator, tmp_path: Path) -> None:
    with Recording.open(song(tmp_path / "in.wav", duration_s=0.05)) as recording:
        for edit in (
            lambda: repaint(recording, generator, request(), Region(0, 0.05)),
            lambda: restyle(recording, generator, request()),
        ):
            with pytest.raises(InputError, match=f"0.050 s, at least {MIN_RECORDING_S}"):
                edit()


def test_prompts_outside_the_recording_are_refused(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    with Recording.open(song(tmp_path / "in.wav")) as recording:
        for at_s in (-1.0, 0.0, 9.4, float("nan")):
            with pytest.raises(InputError, match=r"inside the recording, over 0 .* up to 9.300"):
                restyle(recording, generator, request(), [PromptAtTime(at_s, "bells")])
        with pytest.raises(InputError, match="prompts_at: .*prompt weight"):
            restyle(recording, generator, request(), [PromptAtTime(1.0, "(a:101)")])
        with pytest.raises(InputError, match="prompts_at: 2 s has two prompts"):
            at_once = [PromptAtTime(2.0, text) for text in ("bells", "jazz")]
            restyle(recording, generator, request(), at_once)


def test_the_order_of_prompts_does_not_matter(generator: ClipGenerator, tmp_path: Path) -> None:
    points = [PromptAtTime(4.0, "bells"), PromptAtTime(8.0, "jazz")]
    with Recording.open(song(tmp_path / "in.wav", 1)) as recording:
        one, other = (
            edited(recording, restyle(recording, generator, request(), order))
            for order in (points, points[::-1])
        )
    assert np.array_equal(one, other)


def test_silence_can_be_edited(generator: ClipGenerator, tmp_path: Path) -> None:
    silent = write(tmp_path / "in.wav", np.zeros((2, 3 * RATE), np.int32), RATE, 16)
    with Recording.open(silent) as recording:
        made = edited(recording, repaint(recording, generator, request(), Region(1, 2)))
        assert np.abs(made.astype(float)).max() > 2**31 * 10 ** (-40 / 20)
        restyled = edited(recording, restyle(recording, generator, request()))
        assert restyled.shape == (2, 3 * RATE)
