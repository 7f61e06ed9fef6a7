"""The model's frames in a recording: the same place whatever the rate and the part."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.audio.waveform import Waveform, resample
from riffusion.editing.model_axis import ModelAxis
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.recordings import write

PARAMS = SpectrogramParams()
RATES = [8_000, 22_050, 44_100, 48_000, 44_101]
DURATION_S = 3.7
TONE_HZ = 440.0


def tone(rate: int, duration_s: float = DURATION_S) -> Waveform:
    times = np.arange(round(duration_s * rate)) / rate
    left = 0.5 * np.sin(2 * np.pi * TONE_HZ * times)
    return np.stack([left, 0.5 * left]).astype(np.float32)


@pytest.fixture
def axis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModelAxis]:
    rate = request.param
    samples = np.round(tone(rate) * 2**15).astype(np.int16)
    with Recording.open(write(tmp_path / "in.wav", samples, rate, 16)) as recording:
        yield ModelAxis(recording, SpectrogramConverter(PARAMS, device="cpu"))


@pytest.mark.parametrize("axis", RATES, indirect=True)
def test_every_part_is_in_its_place(axis: ModelAxis) -> None:
    assert axis.num_frames in (370, 371)  # a started frame counts
    times = np.arange(-4410, axis.num_frames * 441 + 4410) / 44_100
    expected = 0.375 * np.sin(2 * np.pi * TONE_HZ * times) * ((times >= 0) & (times < DURATION_S))
    for first, count in ((0, 50), (-10, 40), (77, 201), (axis.num_frames - 30, 40)):
        found = axis.waveform(first, count)
        assert found.shape == (1, count * 441)
        wanted = expected[4410 + first * 441 :][: count * 441]
        error = np.abs(found[0] - wanted)
        assert np.percentile(error, 95) < 2e-3  # only where the tone starts or ends is it larger
        assert error.max() < 0.2


@pytest.mark.parametrize("axis", [22_050, 48_000], indirect=True)
def test_amplitudes_do_not_depend_on_the_part(axis: ModelAxis) -> None:
    whole = axis.amplitudes(0, axis.num_frames)
    for first, count in ((0, 10), (100, 60), (axis.num_frames - 5, 5)):
        part = axis.amplitudes(first, count)
        assert part.shape == (512, count)
        assert np.abs(part - whole[:, first : first + count]).max() < 1e-3 * whole.max()
    assert axis.amplitudes(-40, 20).max() < 1e-3 * whole.max()
    assert axis.amplitudes(axis.num_frames + 20, 20).max() < 1e-3 * whole.max()


@pytest.mark.parametrize("axis", RATES, indirect=True)
def test_the_way_back_is_sample_by_sample(axis: ModelAxis) -> None:
    recording, rate = axis.recording, axis.recording.sample_rate
    original = recording.waveform(0, recording.num_samples).mean(0)
    first, start, stop = 30, round(0.41 * rate), round(3.3 * rate)
    sound = axis.waveform(first, 310)
    whole = list(axis.at_recordings_rate([sound], first, start, stop))
    for sizes in ([441, 44_100, 3], [100_000]):
        edges = [*itertools.takewhile(lambda at: at < sound.shape[1], np.cumsum([0, *sizes]))]
        parts = list(np.split(sound, edges[1:], axis=1))
        found = np.concatenate(list(axis.at_recordings_rate(parts, first, start, stop)), axis=1)
        assert found.shape == (1, stop - start)
        assert np.allclose(found, np.concatenate(whole, axis=1), atol=1e-6)
    error = np.abs(found[0] - original[start:stop])[rate // 100 : -rate // 100]
    assert error.max() < 2e-3


def test_what_is_missing_at_the_end_is_silent(tmp_path: Path) -> None:
    samples = np.round(tone(44_100, 0.5) * 2**15).astype(np.int16)
    with Recording.open(write(tmp_path / "in.wav", samples, 44_100, 16)) as recording:
        axis = ModelAxis(recording, SpectrogramConverter(PARAMS, device="cpu"))
        assert axis.num_frames == 50
        sound = axis.waveform(0, 20)
        (found,) = axis.at_recordings_rate([sound], 0, 0, recording.num_samples)
        assert np.allclose(found[:, : sound.shape[1]], resample(sound, 44_100, 44_100))
        assert not found[:, sound.shape[1] :].any()


@pytest.mark.parametrize("axis", [48_000], indirect=True)
def test_held_amplitudes_are_those_of_their_place(axis: ModelAxis) -> None:
    places = [(-5, 20), (60, 90), (200, 40), (360, 30)]
    before = [axis.amplitudes(*place) for place in places]
    axis.hold(-5, 240)
    for wanted, place in zip(before, places, strict=True):
        found = axis.amplitudes(*place)
        np.testing.assert_allclose(found, wanted, atol=1e-3 * max(wanted.max(), 1))
        found[:] = 0  # the axis keeps its own
        assert axis.amplitudes(*place).max() > 0
