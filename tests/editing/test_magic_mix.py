"""Magic mix: between the recording and its restyled version, by share and by noise level."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from riffusion.audio import Recording
from riffusion.datatypes import InferenceInput
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.editing import restyling
from riffusion.editing.restyling import restyle
from riffusion.editing.splicing import spliced
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from tests.editing.recordings import noise_of, write

RATE = 22_050
ROUNDING = 0.05
"""Share of the level: rounding of latents, carried through phases."""


def restyled(
    path: Path, generator: ClipGenerator, mix: MagicMix | None, denoising: float = 0.2
) -> npt.NDArray[np.float64]:
    start = {"prompt": "piano", "seed": 1, "denoising": denoising, "guidance": 1.0}
    inputs = InferenceInput.parse({"start": start, "num_inference_steps": 10, "scheduler": "ddim"})
    with Recording.open(path) as recording:
        parts = restyle(recording, generator, inputs, mix=mix)
        return np.concatenate(list(spliced(recording, parts)), axis=1).astype(np.float64)


def difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)) / np.sqrt(np.mean(one**2)))


@pytest.fixture(autouse=True)
def nothing_else_keeps_the_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mix keeps the layout in its own way, which is compared with restyling alone."""
    monkeypatch.setattr(restyling, "BEATS_COURSE", 0.0)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    samples = noise_of(16, 1, RATE).astype(np.int64) // 4
    return write(tmp_path / "in.wav", (samples >> 16 << 16).astype(np.int32), RATE, 16)


def test_the_share_leads_from_the_recording_to_the_text(
    generator: ClipGenerator, song: Path
) -> None:
    text = restyled(song, generator, None, 0.6)
    assert difference(text, restyled(song, generator, MagicMix(1.0))) < ROUNDING
    # The layout alone is what restyling begins with at the lower level: 4 of 10 steps.
    layout = restyled(song, generator, None, 0.4)
    assert difference(layout, restyled(song, generator, MagicMix(0.0, 0.3, 0.6))) < ROUNDING
    mixed = restyled(song, generator, MagicMix(0.5))
    assert min(difference(mixed, layout), difference(mixed, text)) > 2 * ROUNDING


def test_at_level_0_the_finished_sound_is_not_mixed(generator: ClipGenerator, song: Path) -> None:
    last_step = restyled(song, generator, None, 0.1)
    assert difference(last_step, restyled(song, generator, MagicMix(0.0, 0.0))) < ROUNDING


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-0.1,), "magic_mix: -0.1 must be from 0 to 1"),
        ((float("nan"),), "magic_mix: nan must be"),
        ((0.5, 0.6, 0.6), "mix_from: 0.6 must be from 0 to below mix_to=0.6"),
        ((0.5, -0.1, 0.6), "mix_from: -0.1 must be"),
        ((0.5, 0.3, 1.1), "mix_to: 1.1 must be above 0, and at most 1"),
        ((0.5, 0.0, 0.0), "mix_to: 0 must be above 0"),
        ((0.5, 0.3, float("nan")), "mix_to: nan must be"),
    ],
)
def test_mixes_that_make_no_sense(values: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MagicMix(*values)
