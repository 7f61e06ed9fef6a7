"""DDIM inversion: its steps undo DDIM's, and latents come back from their own noise."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.canvas import Canvas, CanvasPlan, CanvasWay, PromptAt
from riffusion.diffusion.inversion import DDIMInversion
from riffusion.diffusion.samplers import DDIM
from riffusion.spectrogram.params import SpectrogramParams
from tests.diffusion.pipeline_requests import request

SHAPE = (1, 4, 8, 20)
"""Two windows of 16 columns."""
MAX_ERROR = 1e-3
"""Error of float32 sums over a schedule whose first steps divide by small numbers."""


def ddim(prediction: str, spacing: str, steps: int, beta_end: float = 0.012) -> Any:
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=prediction,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def ours(scheduler: Any) -> DDIM:
    """Our sampler with the settings and steps of diffusers'."""
    sampler = DDIM(scheduler.config)
    sampler.set_timesteps(len(scheduler.timesteps))
    return sampler


@pytest.mark.parametrize("steps", [5, 12, 20])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_its_steps_undo_those_of_ddim(prediction: str, spacing: str, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn((steps, *SHAPE), generator=generator)
    noise = torch.randn(SHAPE, generator=generator)
    scheduler = ddim(prediction, spacing, steps)
    path = [noise]
    for timestep, output in zip(scheduler.timesteps, outputs, strict=True):
        path.append(scheduler.step(output, timestep, path[-1], return_dict=False)[0])
    inversion = DDIMInversion(ours(scheduler))
    assert inversion.timesteps.tolist() == scheduler.timesteps.tolist()[::-1]
    latents = path[-1]
    for timestep, output, expected in zip(
        inversion.timesteps, outputs.flip(0), path[-2::-1], strict=True
    ):
        (latents,) = inversion.step(output, timestep, latents)
        assert torch.allclose(latents, expected, atol=MAX_ERROR * float(expected.abs().max()))


def test_the_guess_is_right_where_outputs_change_evenly() -> None:
    inversion = DDIMInversion(ours(ddim("v_prediction", "trailing", 20)))
    generator = torch.Generator().manual_seed(1)
    latents, first, change = torch.randn((3, *SHAPE), generator=generator)
    for index, timestep in enumerate(inversion.timesteps):
        guess = inversion.scale_model_input(latents, timestep)
        (following,) = inversion.step(first + index * change, timestep, latents)
        if index == 0:
            assert torch.equal(guess, latents)
        if index > 2:
            assert torch.allclose(guess, following, atol=1e-4)
        latents = following


def test_the_guess_takes_the_last_output_where_outputs_turn() -> None:
    inversion, other = (DDIMInversion(ours(ddim("v_prediction", "trailing", 20))) for _ in range(2))
    latents, first, change = torch.randn((3, *SHAPE), generator=torch.Generator().manual_seed(1))
    last = first
    for index, timestep in enumerate(inversion.timesteps):
        guess = inversion.scale_model_input(latents, timestep)
        if index > 2:
            assert torch.allclose(guess, other.step(last, timestep, latents)[0], atol=1e-4)
        last = first + index % 2 * change
        (latents,) = inversion.step(last, timestep, latents)


def canvas(
    pipeline: RiffusionPipeline, latents: torch.Tensor, steps: int, way: CanvasWay
) -> Canvas:
    unguided: dict[str, Any] = {"denoising": 1.0, "guidance": 1.0}
    inputs = request(scheduler="ddim", num_inference_steps=steps, start=unguided)
    return pipeline.prepare_canvas(inputs, CanvasPlan(latents, [PromptAt(0, "piano")], way=way))


def run(pipeline: RiffusionPipeline, canvas: Canvas) -> torch.Tensor:
    with torch.inference_mode():
        while not canvas.is_done:
            window = canvas.parts[0]
            window.advance(pipeline.predict([window])[0])
    return canvas.latents


def test_latents_come_back_from_their_noise_and_closer_with_more_steps(pristine: Path) -> None:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(step_size_ms=160, window_duration_ms=400)
    pipeline.scheduler = ddim("v_prediction", "trailing", 1)
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    errors = []
    for steps in (5, 15):
        inversion = canvas(pipeline, latents, steps, "to noise")
        assert len(inversion.windows) == 2 and inversion.job.num_rows == 1
        assert torch.equal(inversion.latents, latents)
        noise = run(pipeline, inversion)
        back = canvas(pipeline, noise, steps, "from noise")
        assert torch.equal(back.latents, noise)
        assert back.job.timesteps.tolist() == inversion.job.timesteps.tolist()[::-1]
        errors.append(float((run(pipeline, back) - latents).norm() / latents.norm()))
    assert errors[1] < errors[0] / 3 < 0.1, errors
