"""A remix with other sounds of some stems."""

from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.restyled_stems import write_restyled_remix
from riffusion.editing.splicing import New, Part
from riffusion.editing.stems import write_stems
from riffusion.errors import InputError
from tests.editing.halves import Halves
from tests.editing.recordings import noise_of, read, write

RATE = 8000


def inverted(stem: Recording) -> list[Part]:
    """Another sound, of the same length: the stem with its sign changed."""
    return [New(-stem.waveform(0, stem.num_samples))]


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("gains", [{}, {"half": 0.5}, {"rest": 0.0}])
def test_a_restyled_stem_takes_the_place_of_the_stem(
    bits: int, gains: dict[str, float], tmp_path: Path
) -> None:
    source = write(tmp_path / "in.wav", noise_of(bits, 2, RATE) // 2, RATE, bits)
    paths = {name: tmp_path / f"{name}.wav" for name in Halves.names}
    done: list[tuple[int, int]] = []
    with Recording.open(source) as recording:
        write_stems(recording, Halves(), paths)
        write_restyled_remix(
            recording,
            Halves(),
            {"half": inverted},
            gains,
            tmp_path / "out.wav",
            lambda *at: done.append(at),
        )
    half, rest = (read(paths[name], RATE, bits).astype(np.float64) for name in Halves.names)
    expected = -gains.get("half", 1) * half + gains.get("rest", 1) * rest
    found = read(tmp_path / "out.wav", RATE, bits)
    step = 2 ** (8 * found.itemsize - bits)
    assert np.abs(found - expected).max() <= 2 * step
    assert done[-1] == (RATE, RATE)


def test_what_is_refused_leaves_no_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.wav", noise_of(16, 1, RATE), RATE, 16)
    short = write(tmp_path / "short.wav", noise_of(16, 1, 400), RATE, 16)
    output = tmp_path / "out.wav"
    with Recording.open(source) as recording:
        with pytest.raises(InputError, match="'bass' is not a stem; use half, rest"):
            write_restyled_remix(recording, Halves(), {"bass": inverted}, {}, output)
        with pytest.raises(InputError, match="the gain 1e\\+09 of rest"):
            write_restyled_remix(recording, Halves(), {"half": inverted}, {"rest": 1e9}, output)
    with (
        Recording.open(short) as recording,
        pytest.raises(InputError, match="lasts 0.050 s, at least"),
    ):
        write_restyled_remix(recording, Halves(), {"half": inverted}, {}, output)
    assert not output.exists()
