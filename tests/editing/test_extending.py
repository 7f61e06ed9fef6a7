"""A recording that goes on: it stays, the new part has its beat, loudness and exact length."""

from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Audio, Recording, measure_loudness
from riffusion.editing.extending import MAX_EXTENSION_S, as_loud_as, extend
from riffusion.editing.sound import SoundInMemory
from riffusion.editing.splicing import MAX_JOIN_S
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from tests.editing.canvas_edits import edited, request, song
from tests.editing.recordings import write

RATE = 22_050


@pytest.mark.parametrize(("after_s", "before_s"), [(3.3, 0.0), (0.0, 2.1), (1.0, 1.7)])
@pytest.mark.parametrize("count", [1, 2])
def test_the_recording_stays_and_the_length_is_exact(
    generator: ClipGenerator, count: int, after_s: float, before_s: float, tmp_path: Path
) -> None:
    with Recording.open(song(tmp_path / "in.wav", count, duration_s=4.2)) as recording:
        own = recording.samples(0, recording.num_samples).astype(np.int32) << 16
        lengths = {"after_s": after_s, "before_s": before_s}
        found = edited(recording, extend(recording, generator, request(), bar_s=1.1, **lengths))
    before, after, join = round(before_s * RATE), round(after_s * RATE), int(MAX_JOIN_S * RATE)
    assert found.shape == (count, before + own.shape[1] + after)
    first, last = join if before else 0, own.shape[1] - (join if after else 0)
    kept = found[:, before:][:, first:last]
    assert np.array_equal(kept, own[:, first:last])
    for new in (found[:, :before], found[:, before + own.shape[1] :]):
        assert new.shape[1] == 0 or new.std() > 0


@pytest.mark.parametrize("gain", [0.4, 3.0])
@pytest.mark.parametrize("at_start", [True, False])
def test_new_sound_is_as_loud_as_the_recording(gain: float, at_start: bool, tmp_path: Path) -> None:
    with Recording.open(song(tmp_path / "in.wav", 2, duration_s=6.0)) as recording:
        own = recording.waveform(0, recording.num_samples)
        new = SoundInMemory(Audio(gain * own, RATE))
        parts = list(as_loud_as(recording, new, joins_at_its_start=at_start))
        found = np.concatenate(parts, axis=1)
        difference = measure_loudness(found, RATE) - measure_loudness(own, RATE)
    assert abs(difference) < 1
    join = 0 if at_start else -1
    assert np.allclose(found[:, join], gain * own[:, join], rtol=1e-3)


def test_silence_has_no_loudness_to_reach(tmp_path: Path) -> None:
    silent = write(tmp_path / "in.wav", np.zeros((1, 3 * RATE), np.int32), RATE, 16)
    with Recording.open(silent) as recording:
        new = np.full((1, 1000), 0.1, np.float32)
        (found,) = as_loud_as(recording, SoundInMemory(Audio(new, RATE)))
        assert np.array_equal(found, new)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"bar_s": 2.0}, "is 0, and so is before_s"),
        ({"bar_s": 2.0, "after_s": -1.0}, "-1 must be from 0 to 600"),
        ({"bar_s": 2.0, "before_s": MAX_EXTENSION_S + 1}, "601 must be from 0 to 600"),
        ({"bar_s": 2.0, "after_s": float("nan")}, "nan must be from 0"),
        ({"bar_s": 20.0, "after_s": 3.0}, "a bar of 20 s must be longer than 0 and fit"),
        ({"bar_s": 0.0, "after_s": 3.0}, "a bar of 0 s"),
    ],
)
def test_lengths_that_make_no_sense(
    generator: ClipGenerator, lengths: dict[str, float], message: str, tmp_path: Path
) -> None:
    path = song(tmp_path / "in.wav")
    with Recording.open(path) as recording, pytest.raises(InputError, match=message):
        extend(recording, generator, request(), **lengths)
