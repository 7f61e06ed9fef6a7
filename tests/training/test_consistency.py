"""The consistency function and the solver agree with diffusers' schedulers."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler, PNDMScheduler
from diffusers.pipelines import LatentConsistencyModelPipeline

from riffusion.diffusion.guidance_embedding import guidance_embedding
from riffusion.errors import InputError
from riffusion.training.losses.consistency import ConsistencyPath, distance

ROUNDING = 2e-5
"""Absolute; values are of the order of 1 to 10 in single precision."""
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085}
SCHEDULERS = [
    PNDMScheduler(**SCHEDULE, beta_end=0.012, skip_prk_steps=True),
    DPMSolverMultistepScheduler(**SCHEDULE, beta_end=0.02, prediction_type="v_prediction"),
    DDIMScheduler(
        **SCHEDULE,
        beta_end=0.02,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    ),
]
NAMES = ["epsilon", "v", "v, no signal at the last timestep"]


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("solver_steps", [10, 50])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=NAMES)
def test_the_end_of_the_path_is_what_lcm_takes_for_the_clean_image(
    scheduler: Any, solver_steps: int
) -> None:
    path = ConsistencyPath(scheduler, solver_steps)
    lcm = LCMScheduler.from_config(scheduler.config, original_inference_steps=solver_steps)
    lcm.set_timesteps(4)
    assert set(lcm.timesteps.tolist()) <= set(path.starts(torch.arange(1000)).tolist())
    for timestep in lcm.timesteps:
        prediction, noisy = latents(1), latents(2)
        _, expected = lcm.step(prediction, timestep, noisy, return_dict=False)
        found = path.end_of_path(prediction, noisy, timestep.repeat(3))
        torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=1e-5)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=NAMES)
def test_a_step_of_the_solver_is_one_of_ddim(scheduler: Any) -> None:
    path = ConsistencyPath(scheduler, 50)
    kept = {name: scheduler.config[name] for name in ("prediction_type", "beta_end")}
    rescale = {"rescale_betas_zero_snr": scheduler.config.get("rescale_betas_zero_snr", False)}
    ddim = DDIMScheduler(
        **SCHEDULE, **kept, **rescale, clip_sample=False, timestep_spacing="trailing"
    )
    ddim.set_timesteps(50)
    starts = path.starts(torch.tensor([999, 515, 33]))
    assert starts.tolist() == [999, 519, 39]
    assert path.ends(starts).tolist() == [979, 499, 19]
    prediction, noisy = latents(1), latents(2)
    found = path.solver_step(prediction, noisy, starts)
    for row, start in enumerate(starts):
        (expected,) = ddim.step(prediction[row], start, noisy[row], return_dict=False)[:1]
        torch.testing.assert_close(found[row], expected, atol=ROUNDING, rtol=1e-4)


def test_the_last_step_ends_at_a_point_that_is_its_own_end() -> None:
    path = ConsistencyPath(SCHEDULERS[1], 50)
    starts = path.starts(torch.tensor([0, 7, 19]))
    assert starts.tolist() == [19, 19, 19]
    ends = path.ends(starts)
    assert ends.tolist() == [0, 0, 0]
    noisy = latents(2)
    assert torch.equal(path.end_of_path(latents(1), noisy, ends), noisy)


@pytest.mark.parametrize("scheduler", SCHEDULERS[:2], ids=NAMES[:2])
def test_noise_is_added_and_found_again(scheduler: Any) -> None:
    path = ConsistencyPath(scheduler, 50)
    clean, noise, timesteps = latents(1), latents(2), torch.tensor([19, 500, 999])
    noisy = path.add_noise(clean, noise, timesteps)
    torch.testing.assert_close(noisy, path.scheduler.add_noise(clean, noise, timesteps))
    signal, share = (table[timesteps].view(-1, 1, 1, 1) for table in (path.signal, path.noise))
    prediction = signal * noise - share * clean if path.is_v else noise
    found = path.clean_and_noise(prediction, noisy, timesteps)
    torch.testing.assert_close(found[0], clean, atol=50 * ROUNDING, rtol=1e-4)
    torch.testing.assert_close(found[1], noise, atol=ROUNDING, rtol=1e-4)


@pytest.mark.parametrize(("steps", "remedy"), [(48, 40), (60, 50), (999, 500), (1001, 1000)])
def test_solver_steps_that_do_not_divide_are_refused(steps: int, remedy: int) -> None:
    with pytest.raises(InputError) as caught:
        ConsistencyPath(SCHEDULERS[0], steps)
    assert str(caught.value) == (
        f"solver_steps={steps} must divide the checkpoint's 1000 timesteps; use {remedy}, or 50 as "
        "published"
    )


def test_epsilon_cannot_be_distilled_from_pure_noise() -> None:
    options = {"rescale_betas_zero_snr": True, "beta_schedule": "scaled_linear"}
    with pytest.raises(InputError, match=r"rescale_betas_zero_snr=true .* no signal .* predicts v"):
        ConsistencyPath(DDIMScheduler(**options), 50)
    path = ConsistencyPath(DDIMScheduler(**options, prediction_type="v_prediction"), 50)
    last = torch.tensor([999])
    noisy, prediction = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    clean, noise = path.clean_and_noise(prediction, noisy, last)
    torch.testing.assert_close(clean, -prediction)
    torch.testing.assert_close(noise, noisy)


def test_the_distance_is_linear_for_large_and_squared_for_small_errors() -> None:
    zeros = torch.zeros(2, 1, 2, 2)
    errors = torch.tensor([1e-4, 3.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    near, far = distance(zeros, errors, huber_c=0.01).tolist()
    assert near == pytest.approx(1e-4**2 / (2 * 0.01), rel=1e-2)
    assert far == pytest.approx(3.0 - 0.01, rel=1e-4)
    assert distance(zeros, errors, None).tolist() == pytest.approx([1e-8, 9.0])


@pytest.mark.parametrize("width", [8, 9, 256])
def test_the_guidance_is_embedded_as_by_diffusers(width: int) -> None:
    guidance = torch.tensor([1.0, 1.5, 7.0, 14.0])
    expected = LatentConsistencyModelPipeline.get_guidance_scale_embedding(
        None, guidance - 1, embedding_dim=width
    )
    found = guidance_embedding(guidance, width)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)  # angles reach 13,000
    assert torch.equal(found[0, : width // 2], torch.zeros(width // 2))  # guidance 1 is position 0
