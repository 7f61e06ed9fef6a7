"""A clip with the layout of one text and the details of another."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.errors import GenerationCancelled
from riffusion.generation.generator import ClipGenerator, ResolvedInput
from riffusion.generation.mixing import with_layout
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.params import SpectrogramParams

Grey = npt.NDArray[np.float64]
ROUNDING = 1.0
"""Grey levels of 255."""


@pytest.fixture(scope="module")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=48, step_size_ms=80)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None))
    yield generator
    generator.close()


def details(generator: ClipGenerator) -> ResolvedInput:
    start = {"prompt": "piano", "seed": 1, "guidance": 1.0}
    sampling = {"num_inference_steps": 10, "scheduler": "ddim"}
    return generator.resolve(
        InferenceInput.parse({"start": start, "mode": "txt2img", "duration_s": 2.56, **sampling})
    )


def drawn(generator: ClipGenerator, resolved: ResolvedInput) -> Grey:
    return np.asarray(generator.start(resolved).image.result(), np.float64)


def restarted(generator: ClipGenerator, denoising: float) -> Grey:
    """The details, drawn over the layout without a mix."""
    resolved = with_layout(generator, details(generator), "bells", MagicMix())
    start = resolved.inputs.start.model_copy(update={"denoising": denoising})
    inputs = resolved.inputs.model_copy(update={"start": start, "end": start})
    return drawn(generator, replace(resolved, inputs=inputs, mix=None))


def mixed(generator: ClipGenerator, mix: MagicMix) -> Grey:
    return drawn(generator, with_layout(generator, details(generator), "bells", mix))


def difference(one: Grey, other: Grey) -> float:
    return float(np.abs(one - other).mean())


def test_the_share_leads_from_the_layout_to_the_text(generator: ClipGenerator) -> None:
    text = restarted(generator, 0.6)
    assert difference(text, mixed(generator, MagicMix(1.0))) < ROUNDING
    # The layout alone is what drawing begins with at the lower level: 4 of 10 steps.
    layout = restarted(generator, 0.4)
    assert difference(layout, mixed(generator, MagicMix(0.0))) < ROUNDING
    half = mixed(generator, MagicMix(0.5))
    assert min(difference(half, layout), difference(half, text)) > 2 * ROUNDING


def test_the_layout_is_that_of_its_text(generator: ClipGenerator) -> None:
    plain = details(generator)
    start = plain.inputs.start.model_copy(update={"prompt": "bells"})
    layout = replace(plain, inputs=plain.inputs.model_copy(update={"start": start, "end": start}))
    resolved = with_layout(generator, plain, "bells", MagicMix(0.5, 0.2, 0.7))
    assert resolved.init_image is not None
    assert np.array_equal(np.asarray(resolved.init_image), drawn(generator, layout))
    assert (resolved.inputs.mode, resolved.inputs.start.denoising) == ("img2img", 0.7)
    assert resolved.inputs.start.prompt == "piano"


def test_a_layout_that_is_cancelled_ends(generator: ClipGenerator) -> None:
    def stop(done: int, total: int) -> None:
        raise GenerationCancelled(f"{done} of {total}")

    with pytest.raises(GenerationCancelled, match="1 of 10"):
        with_layout(generator, details(generator), "bells", MagicMix(), stop)
