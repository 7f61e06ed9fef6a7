"""Canvases in the engine: windows share calls with each other and with clips, and all agree."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.engine import Engine
from riffusion.engine.engine import EngineStep
from riffusion.errors import GenerationCancelled, GenerationError, InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.engine.engine_requests import (
    IMAGE,
    MAX_GREY_LEVELS,
    TIMEOUT_S,
    blocked,
    levels,
    request,
)

MAX_LATENT_ERROR = 1e-4
WINDOW_PARAMS = SpectrogramParams(num_frequencies=48, step_size_ms=80)
"""A clip of 64 frames: windows of 32 columns, so that tests are quick."""
PROMPTS = (PromptAt(0, "piano"), PromptAt(75, "bells"))


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = WINDOW_PARAMS
    return pipeline


def plan(num_columns: int = 80, seed: int = 0) -> CanvasPlan:
    generator = torch.Generator().manual_seed(seed)
    return CanvasPlan(torch.randn((1, 4, 24, num_columns), generator=generator), PROMPTS)


def alone(pipeline: RiffusionPipeline, *args: Any) -> torch.Tensor:
    canvas = pipeline.prepare_canvas(*args)
    while not canvas.is_done:
        window = canvas.parts[0]
        window.advance(pipeline.predict([window])[0])
    return canvas.latents


def test_a_canvas_does_not_depend_on_what_shares_its_calls(
    pipeline: RiffusionPipeline, engine: Engine, steps: list[EngineStep]
) -> None:
    settings = request(steps=3, scheduler="ddim")
    other = request(steps=4, scheduler="dpmsolver++", guidance=1.0, seed=3)
    clip = request(steps=5).model_copy(update={"mode": "txt2img"})
    release = blocked(engine)
    first = engine.submit_canvas(settings, plan())
    second = engine.submit_canvas(other, plan(62, seed=1))
    image = engine.submit(clip)
    release.set()
    found = [request.outcome.result(TIMEOUT_S) for request in (first, second)]
    for latents, args in zip(found, [(settings, plan()), (other, plan(62, 1))], strict=True):
        assert torch.allclose(latents, alone(pipeline, *args), atol=MAX_LATENT_ERROR)
    solo = pipeline(clip).images[0]
    assert levels(image.image.result(TIMEOUT_S), solo) <= MAX_GREY_LEVELS
    assert max(step.num_rows for step in steps) == engine.max_rows
    assert max(step.num_jobs for step in steps) > 3


def test_a_clip_does_not_wait_for_a_whole_step_of_a_long_canvas(engine: Engine) -> None:
    release = blocked(engine)
    long = engine.submit_canvas(request(steps=2, denoising=1.0), plan(400))
    clip = engine.submit(request(steps=3, denoising=1.0).model_copy(update={"mode": "txt2img"}))
    done_at: list[int] = []
    seen: list[tuple[int, int]] = []
    long._on_progress = lambda *progress: seen.append(progress)
    clip.image.add_done_callback(lambda _: done_at.append(len(seen)))
    release.set()
    clip.image.result(TIMEOUT_S)
    long.outcome.result(TIMEOUT_S)
    num_windows = seen[-1][1] // 2
    assert done_at[0] < num_windows
    assert seen == [(index + 1, 2 * num_windows) for index in range(2 * num_windows)]


def test_a_cancelled_canvas_frees_the_engine(engine: Engine) -> None:
    began = threading.Event()
    long = engine.submit_canvas(request(steps=100), plan(400), lambda *_: began.set())
    assert began.wait(TIMEOUT_S)
    long.cancel()
    with pytest.raises(GenerationCancelled):
        long.outcome.result(TIMEOUT_S)
    engine.submit(request(), IMAGE).image.result(TIMEOUT_S)
    assert engine.num_running == 0


def test_progress_that_raises_fails_its_canvas_alone(engine: Engine) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyError(done)

    release = blocked(engine)
    failing = engine.submit_canvas(request(), plan(), stop)
    other = engine.submit_canvas(request(), plan())
    release.set()
    with pytest.raises(KeyError):
        failing.outcome.result(TIMEOUT_S)
    assert torch.isfinite(other.outcome.result(TIMEOUT_S)).all()


def test_a_bad_request_is_refused(engine: Engine) -> None:
    bad = CanvasPlan(plan().init_latents, (PromptAt(0, "(piano:101)"),))
    with pytest.raises(InputError):
        engine.submit_canvas(request(), bad).outcome.result(TIMEOUT_S)


def test_latents_that_are_not_finite_are_an_error(engine: Engine) -> None:
    broken = CanvasPlan(plan().init_latents * float("nan"), PROMPTS)
    with pytest.raises(GenerationError, match="not finite"):
        engine.submit_canvas(request(), broken).outcome.result(TIMEOUT_S)


def test_a_canvas_without_steps_comes_back(engine: Engine) -> None:
    found = engine.submit_canvas(request(denoising=0.0), plan()).outcome.result(TIMEOUT_S)
    assert torch.equal(found, plan().init_latents)


def test_functions_are_called_in_the_engines_thread(engine: Engine) -> None:
    engine.submit(request(steps=1, denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    name = engine.call(lambda: threading.current_thread().name).result(TIMEOUT_S)
    assert name == "engine"
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda: 1 / 0).result(TIMEOUT_S)
    engine.submit(request(steps=1, denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    engine.close()
    with pytest.raises(GenerationError, match="closed"):
        engine.call(lambda: None)
