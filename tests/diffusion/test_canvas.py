"""A canvas: windows that agree, noise on one time axis, prompts along the way."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.batching import stack_jobs
from riffusion.diffusion.canvas import (
    Canvas,
    CanvasPlan,
    PromptAt,
    column_noise,
    position_between,
    window_starts,
    window_weights,
)
from riffusion.diffusion.job import CourseInTime, DenoisingJob
from riffusion.diffusion.schedulers import add_noise
from riffusion.diffusion.torch_random import TorchNumbers
from riffusion.spectrogram.params import SpectrogramParams
from tests.diffusion.pipeline_requests import SCHEDULERS, request

WINDOW = 32
"""Columns of a clip of 64 frames, with the tiny checkpoint's VAE of factor 2."""
HEIGHT, CHANNELS = 8, 4
PIANO = (PromptAt(0, "piano"),)


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(step_size_ms=80)
    return pipeline


def latents(num_columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, CHANNELS, HEIGHT, num_columns), generator=generator)


def noise_of(seed: int, first: int, shape: torch.Size, draw: int = 0) -> torch.Tensor:
    return torch.from_numpy(column_noise(TorchNumbers, seed, first, shape, draw))


def run(pipeline: RiffusionPipeline, canvas: Canvas) -> torch.Tensor:
    """All steps, window by window."""
    with torch.inference_mode():
        while not canvas.is_done:
            window = canvas.parts[0]
            window.advance(pipeline.predict([window])[0])
    return canvas.latents


def test_the_windows_cover_the_canvas_evenly() -> None:
    assert window_starts(200, 256, 64) == [0]
    assert window_starts(256, 256, 64) == [0]
    assert window_starts(257, 256, 64) == [0, 1]
    assert window_starts(448, 256, 64) == [0, 192]
    assert window_starts(449, 256, 64) == [0, 96, 193]


@given(window=st.integers(4, 64), more=st.integers(0, 500), share=st.floats(0, 0.9))
def test_windows_overlap_and_their_weights_add_up(window: int, more: int, share: float) -> None:
    overlap, columns = int(window * share), window + more
    starts = window_starts(columns, window, overlap)
    assert starts[0] == 0 and starts[-1] + window == columns
    distances = [after - before for before, after in itertools.pairwise(starts)]
    assert all(0 < distance <= window - overlap for distance in distances)
    total = torch.zeros(columns)
    for start, weight in zip(starts, window_weights(starts, window, columns), strict=True):
        assert bool((weight > 0).all())
        total[start : start + window] += torch.from_numpy(weight)
    assert torch.allclose(total, torch.ones(columns), atol=1e-5)


def test_noise_belongs_to_the_time_axis() -> None:
    whole = noise_of(7, 0, torch.Size((1, 4, 32, 500)))
    for first, width in ((0, 500), (16, 16), (33, 100), (499, 1)):
        part = noise_of(7, first, torch.Size((1, 4, 32, width)))
        assert torch.equal(part, whole[..., first : first + width])
    assert abs(float(whole.mean())) < 0.01 and abs(float(whole.std()) - 1) < 0.01
    others = [noise_of(8, 0, whole.shape), noise_of(7, 0, whole.shape, draw=1)]
    others += [noise_of(7 + 2**32, 0, whole.shape), noise_of(7, 16, whole.shape)]
    for other in others:
        assert abs(float((whole * other).mean())) < 0.02


def test_positions_between_prompts() -> None:
    columns = [10.0, 20.0, 40.0]
    expected = {0: (0, 0.0), 10: (0, 0.0), 15: (0, 0.5), 20: (1, 0.0), 30: (1, 0.5), 99: (2, 0.0)}
    assert {at: position_between(columns, at) for at in expected} == expected


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_canvas_of_one_window_is_an_ordinary_job(
    pipeline: RiffusionPipeline, scheduler: SchedulerName
) -> None:
    inputs = request(scheduler=scheduler, num_inference_steps=6)
    canvas = pipeline.prepare_canvas(inputs, CanvasPlan(latents(WINDOW), PIANO))
    twin = pipeline.prepare_canvas(inputs, CanvasPlan(latents(WINDOW), PIANO)).job
    assert isinstance(twin, DenoisingJob)
    assert torch.equal(twin.embeddings, canvas.windows[0].embeddings)
    while not twin.is_done:
        pipeline.step([twin])
    assert torch.equal(run(pipeline, canvas), twin.latents)


def test_a_step_averages_the_predictions(pipeline: RiffusionPipeline) -> None:
    inputs = request(scheduler="ddim", num_inference_steps=4)
    canvas = pipeline.prepare_canvas(inputs, CanvasPlan(latents(63), PIANO))
    starts = [window.columns.start for window in canvas.windows]
    assert starts == [0, 16, 31]
    noisy, job = canvas.latents.clone(), canvas.job
    blended = torch.zeros(2, *noisy.shape[1:])
    ramp = torch.minimum(torch.arange(1, WINDOW + 1), torch.arange(WINDOW, 0, -1)).float()
    counts = torch.zeros(63)
    for window in canvas.windows:
        (prediction,) = pipeline.predict([window])
        blended[..., window.columns] += prediction * ramp
        counts[window.columns] += ramp
    unconditional, conditional = (blended / counts).chunk(2)
    guided = unconditional + job.guidance * (conditional - unconditional)
    expected = job.scheduler.step(guided, job.timestep, noisy, return_dict=False)[0]
    with torch.inference_mode():
        for window in list(canvas.parts):
            window.advance(pipeline.predict([window])[0])
    assert job.steps_done == 1
    assert torch.allclose(canvas.latents, expected, atol=1e-4)


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++", "euler_a"])
def test_what_the_mask_keeps_ends_as_it_was(
    pipeline: RiffusionPipeline, scheduler: SchedulerName
) -> None:
    init = latents(75)
    repaint = torch.zeros(1, 1, HEIGHT, 75)
    repaint[..., 12:44] = 1
    inputs = request(scheduler=scheduler, num_inference_steps=3, start={"denoising": 1.0})
    canvas = pipeline.prepare_canvas(inputs, CanvasPlan(init, PIANO, repaint))
    found = run(pipeline, canvas)
    assert torch.equal(found[..., :12], init[..., :12])
    assert torch.equal(found[..., 44:], init[..., 44:])
    assert (found - init)[..., 12:44].abs().mean() > 0.1


@given(share=st.floats(0, 1), num_steps=st.integers(1, 150))
def test_the_shares_of_all_steps_make_the_whole(share: float, num_steps: int) -> None:
    of_step = CourseInTime.share_of_step(share, num_steps)
    assert 0 <= of_step <= 1
    assert 1 - (1 - of_step) ** num_steps == pytest.approx(share, abs=1e-9)


def test_the_course_in_time_moves_the_mean_over_frequency_alone(
    pipeline: RiffusionPipeline,
) -> None:
    init, noise, found = latents(40), latents(40, 1), latents(40, 2)
    scheduler = pipeline.prepare_canvas(request(), CanvasPlan(init, PIANO)).job.scheduler
    timestep = torch.tensor(500)
    noisy = add_noise(scheduler, init, noise, timestep)
    for share in (0.0, 0.3, 1.0):
        kept = CourseInTime(init, noise, share).kept(found, scheduler, timestep)
        means = torch.lerp(found.mean(2), noisy.mean(2), share)
        assert torch.allclose(kept.mean(2), means, atol=1e-6)
        moved = kept - found
        assert torch.allclose(moved, moved[:, :, :1].expand_as(moved), atol=1e-6)


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++", "lcm"])
def test_a_canvas_follows_the_course_of_its_init_latents(
    pipeline: RiffusionPipeline, scheduler: SchedulerName
) -> None:
    """With a course of 1, the mean over frequency before the last step is the init latents'."""
    init = latents(40)
    inputs = request(scheduler=scheduler, num_inference_steps=6, start={"denoising": 1.0})
    distances = []
    for course in (0.0, 0.5, 1.0):
        canvas = pipeline.prepare_canvas(inputs, CanvasPlan(init, PIANO, course=course))
        with torch.inference_mode():
            while canvas.steps_left > 1:
                window = canvas.parts[0]
                window.advance(pipeline.predict([window])[0])
        noise = noise_of(inputs.start.seed, 0, init.shape)
        noisy = add_noise(canvas.job.scheduler, init, noise, canvas.job.timestep)
        distances.append(float((canvas.latents - noisy).mean(2).abs().mean()))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-5


def test_overlapping_regions_start_from_the_same_noise(pipeline: RiffusionPipeline) -> None:
    inputs = request(scheduler="ddim", start={"denoising": 1.0})
    init = latents(88)
    whole = pipeline.prepare_canvas(inputs, CanvasPlan(init, PIANO))
    later = pipeline.prepare_canvas(inputs, CanvasPlan(init[..., 38:], PIANO, first_column=38))
    assert torch.equal(later.latents, whole.latents[..., 38:])
    scheduler = whole.job.scheduler
    expected = add_noise(scheduler, init, noise_of(5, 0, init.shape), whole.job.timestep)
    other = pipeline.prepare_canvas(
        request(scheduler="ddim", start={"denoising": 1.0, "seed": 5}), CanvasPlan(init, PIANO)
    )
    assert torch.equal(other.latents, expected)


def test_prompts_change_along_the_way(pipeline: RiffusionPipeline) -> None:
    prompts = (PromptAt(16, "piano"), PromptAt(64, "bells"))
    unguided: dict[str, Any] = {"guidance": 1.0}
    canvas = pipeline.prepare_canvas(
        request(scheduler="ddim", start=unguided), CanvasPlan(latents(128), prompts)
    )
    piano, bells = pipeline.embed_text_weighted("piano"), pipeline.embed_text_weighted("bells")
    starts = [window.columns.start for window in canvas.windows]
    assert starts == [0, 24, 48, 72, 96]
    shares = [0.0, 0.5, 1.0, 1.0, 1.0]
    for window, share in zip(canvas.windows, shares, strict=True):
        assert torch.allclose(window.embeddings, torch.lerp(piano, bells, share), atol=1e-6)


def test_guided_windows_have_the_negative_prompt_first(pipeline: RiffusionPipeline) -> None:
    inputs = request(scheduler="ddim", start={"negative_prompt": "bells"})
    canvas = pipeline.prepare_canvas(inputs, CanvasPlan(latents(75), PIANO))
    expected = torch.cat([pipeline.embed_text("bells"), pipeline.embed_text("piano")])
    for window in canvas.windows:
        assert torch.equal(window.embeddings, expected)
    assert stack_jobs(canvas.windows, pipeline.unet).rows.shape == (6, CHANNELS, HEIGHT, WINDOW)


def test_without_steps_the_latents_stay(pipeline: RiffusionPipeline) -> None:
    inputs: InferenceInput = request(start={"denoising": 0.0})
    init = latents(37)
    canvas = pipeline.prepare_canvas(inputs, CanvasPlan(init, PIANO))
    assert canvas.is_done
    assert torch.equal(canvas.latents, init)
