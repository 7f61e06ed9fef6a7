"""What the networks see of a recording around a section; it decides how long an edit takes."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.model_axis import ModelAxis
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.splicing import write_spliced
from riffusion.editing.surroundings import CONTEXT_S, NEAREST_S, WIDEST_WINDOW, Section, extent
from riffusion.generation.generator import ClipGenerator
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.canvas_edits import request, song
from tests.editing.recording_in_memory import RecordingInMemory

RATE = 8_000
DURATION_S = 16.0
CLIP_S = 5.12


class Latents(NamedTuple):
    frames_per_column: int
    columns_of_clip: int


@pytest.mark.parametrize("latents", [Latents(16, 32), Latents(8, 64)])
@pytest.mark.parametrize("length_s", [0.05, 3.0, CLIP_S, 8.0, 11.0])
@pytest.mark.parametrize("start_s", [0.0, 0.1, 4.91, 5.0])
def test_a_section_has_its_surroundings(latents: Latents, length_s: float, start_s: float) -> None:
    silence = np.zeros((1, round(DURATION_S * RATE)), np.float32)
    converter = SpectrogramConverter(SpectrogramParams(), device="cpu")
    axis = ModelAxis(RecordingInMemory(silence, RATE), converter)
    end_s = min(start_s + length_s, DURATION_S)
    first = max(0, round(100 * start_s) - 1)  # as `remade_samples` makes it
    last = min(round(100 * end_s) + 1, axis.num_frames)
    section = Section(first, last, None, start_s > 0, end_s < DURATION_S)
    seen = extent(axis, latents, section)
    begin = latents.frames_per_column * seen.column
    end = begin + latents.frames_per_column * seen.num_columns
    is_short = length_s <= CLIP_S
    beside = 100 * (NEAREST_S if is_short else CONTEXT_S)
    assert begin <= max(0, first - beside)
    assert end >= min(last + beside, axis.num_frames)
    assert seen.num_columns >= latents.columns_of_clip
    if is_short:
        assert seen.window == seen.num_columns <= WIDEST_WINDOW * latents.columns_of_clip
    else:
        assert seen.window == latents.columns_of_clip


@pytest.mark.parametrize(("from_s", "to_s"), [(0.0, 4.0), (4.0, 8.0), (12.0, 16.0), (7.0, 8.0)])
def test_the_networks_see_little_more_than_a_clip(
    generator: ClipGenerator,
    from_s: float,
    to_s: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time says little on a busy machine: what the networks compute is counted instead."""
    seen = Counter[str]()

    def count(network: Any, method: str) -> None:
        original = getattr(network, method)

        def counted(rows: Any, *others: Any, **options: Any) -> Any:
            seen[method] += len(rows) * rows.shape[-1]
            return original(rows, *others, **options)

        monkeypatch.setattr(network, method, counted)

    pipeline = generator.pipeline
    count(pipeline.unet, "forward")
    count(pipeline.vae, "decode")
    count(pipeline.vae, "encode")
    clip_request = request().model_copy(update={"mode": "txt2img"})
    generator.generate(generator.resolve(clip_request))
    clip = Counter(seen)
    seen.clear()
    with Recording.open(song(tmp_path / "in.wav", duration_s=DURATION_S)) as recording:
        parts = repaint(recording, generator, request(), Region(from_s, to_s))
        write_spliced(recording, parts, tmp_path / "out.wav")
    assert clip["forward"] <= seen["forward"] <= WIDEST_WINDOW * clip["forward"]
    assert 0 < seen["decode"] <= WIDEST_WINDOW * clip["decode"]
    width = pipeline.clip_columns * pipeline.vae_scale_factor
    assert 0 < seen["encode"] <= WIDEST_WINDOW * width
