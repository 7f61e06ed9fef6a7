"""Rendered sound continues the recording beside it and itself, without click or notch."""

from collections.abc import Iterator

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing import rendering
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.rendering import rendered
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.novelty import flux, near
from tests.editing.recordings import write

RATE = 44_100
NUM_FRAMES = 700


@pytest.fixture(scope="module")
def axis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelAxis]:
    """Steady tones, a melody that changes twice a second, and soft noise."""
    times = np.arange(NUM_FRAMES * 441) / RATE
    note = 220 * 2 ** (np.floor(2 * times) % 5 / 12)
    melody = np.sin(2 * np.pi * np.cumsum(note) / RATE) * np.exp(-2 * (times % 0.5))
    steady = np.sin(2 * np.pi * 330 * times) + 0.5 * np.sin(2 * np.pi * 990 * times)
    noise = np.random.default_rng(0).standard_normal(len(times))
    samples = np.round((0.2 * melody + 0.15 * steady + 0.002 * noise) * 2**15).astype(np.int16)
    path = write(tmp_path_factory.mktemp("rendering") / "in.wav", samples[None], RATE, 16)
    with Recording.open(path) as recording:
        yield ModelAxis(recording, SpectrogramConverter(SpectrogramParams(), device="cpu"))


def test_joins_with_the_recording_are_no_novelty(axis: ModelAxis) -> None:
    first, count, join = 210, 133, 882
    (made,) = rendered(axis, axis.amplitudes, first, count)
    assert made.shape == (1, count * 441)
    start, stop = first * 441, (first + count) * 441
    original = axis.waveform(0, NUM_FRAMES)
    edited = original.copy()
    fade = np.sin(np.linspace(0, np.pi / 2, join)) ** 2
    weight = np.concatenate([fade, np.ones(count * 441 - 2 * join), fade[::-1]])
    edited[:, start:stop] += weight * (made - original[:, start:stop])
    limit = np.percentile(flux(original), 99)
    for place in (start, stop):
        assert near(flux(edited), place) <= limit
        around = slice(place - join, place + join)
        levels = [np.sqrt((sound[:, around] ** 2).mean()) for sound in (edited, original)]
        assert abs(20 * np.log10(levels[0] / levels[1])) < 0.5
    # Without what is beside it, it starts with other phases.
    (alone,) = rendered(
        axis, axis.amplitudes, first, count, continues_before=False, continues_after=False
    )
    head = slice(0, 441)
    wanted = original[:, start:stop][:, head]
    assert np.abs(made[:, head] - wanted).mean() < 0.2 * np.abs(alone[:, head] - wanted).mean()


def test_parts_follow_each_other_without_a_seam(
    axis: ModelAxis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "_FRAMES_AT_ONCE", 150)
    parts = list(
        rendered(axis, axis.amplitudes, 0, 600, continues_before=False, continues_after=False)
    )
    assert [part.shape for part in parts] == [(1, 150 * 441)] * 4
    made = np.concatenate(parts, axis=1)
    monkeypatch.setattr(rendering, "_FRAMES_AT_ONCE", 600)
    (whole,) = rendered(
        axis, axis.amplitudes, 0, 600, continues_before=False, continues_after=False
    )
    limit = np.percentile(flux(whole), 99)
    for seam in (150, 300, 450):
        assert near(flux(made), seam * 441) <= max(limit, 1.1 * near(flux(whole), seam * 441))


@pytest.mark.parametrize(("first", "count"), [(0, 5), (0, NUM_FRAMES), (690, 10), (200, 1)])
def test_any_place(axis: ModelAxis, first: int, count: int) -> None:
    parts = list(
        rendered(
            axis,
            axis.amplitudes,
            first,
            count,
            continues_before=first > 0,
            continues_after=first + count < NUM_FRAMES,
        )
    )
    made = np.concatenate(parts, axis=1)
    assert made.shape == (1, count * 441)
    assert np.isfinite(made).all()
    level = np.sqrt((made**2).mean() / (axis.waveform(first, count) ** 2).mean())
    assert 0.7 < level < 1.4
