"""Our samplers against diffusers' schedulers, with arrays of both libraries."""

import itertools
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from riffusion.diffusion.random_numbers import TwisterNumbers
from riffusion.diffusion.samplers import DDIM, PNDM, Consistency, DPMSolver, Sampler

TOLERANCE = 1e-4
"""Relative to the largest value; diffusers computes coefficients in single precision."""
SHAPE = (1, 4, 4, 6)
CLASSES: dict[type[Sampler], Any] = {
    DDIM: diffusers.DDIMScheduler,
    DPMSolver: diffusers.DPMSolverMultistepScheduler,
    PNDM: diffusers.PNDMScheduler,
    Consistency: diffusers.LCMScheduler,
}
SETTINGS: dict[type[Sampler], dict[str, Any]] = {
    DDIM: {"clip_sample": False},
    DPMSolver: {"use_karras_sigmas": True},
    PNDM: {"skip_prk_steps": True},
    Consistency: {},
}
SCHEDULES = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.02},
    {"beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "num_train_timesteps": 500},
    {"trained_betas": [0.0001 * (i + 1) for i in range(200)], "num_train_timesteps": 200},
]
SPACINGS = ["leading", "trailing", "linspace"]


def network(latents: Any, timestep: Any) -> Any:
    """Stands for the UNet: some function of latents and timestep, alike for both libraries."""
    return latents * (0.3 + int(timestep) / 5000) - 0.2


def denoised(scheduler: Any, latents: Any, begin: int, strength_noise: Any = None) -> Any:
    """The latents after all steps from `begin` on, noised before and halfway as img2img does."""
    timesteps = scheduler.timesteps[begin:]
    if hasattr(scheduler, "set_begin_index"):  # else diffusers goes wrong where timesteps repeat
        scheduler.set_begin_index(begin)
    if strength_noise is not None:
        at = timesteps[0] if isinstance(scheduler, Sampler) else timesteps[:1]
        latents = scheduler.add_noise(latents, strength_noise, at)
    for timestep in timesteps:
        output = network(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
    return latents


def assert_equal(found: Any, expected: torch.Tensor) -> None:
    size = max(1.0, float(expected.abs().max()))
    assert np.abs(np.asarray(found) - expected.numpy()).max() <= TOLERANCE * size


@pytest.mark.parametrize("kind", [DDIM, DPMSolver])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: str(schedule)[:40])
def test_equals_diffusers(kind: type[Sampler], prediction: str, schedule: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    latents, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    for spacing, count in itertools.product(SPACINGS, [1, 2, 3, 12, 15, 24]):
        settings = {
            **SETTINGS[kind],
            **schedule,
            "prediction_type": prediction,
            "timestep_spacing": spacing,
        }
        for begin in {0, count // 3, count - 1}:
            theirs = CLASSES[kind](**settings)
            theirs.set_timesteps(count)
            ours = [kind(dict(theirs.config)) for _ in range(2)]
            assert kind.supports(dict(theirs.config))
            added = noise if begin else None
            expected = denoised(theirs, latents, begin, added)
            for sampler, library in zip(ours, (torch.asarray, np.asarray), strict=True):
                sampler.set_timesteps(count)  # type: ignore[attr-defined] # both have it
                assert sampler.timesteps.tolist() == theirs.timesteps.tolist()
                found = denoised(
                    sampler, library(latents), begin, None if added is None else library(noise)
                )
                assert_equal(found, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_karras_sigmas": False},
        {"use_karras_sigmas": False, "final_sigmas_type": "sigma_min"},
        {"solver_order": 1},
        {"euler_at_final": True},
        {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"timestep_spacing": "leading", "steps_offset": 1, "use_karras_sigmas": False},
    ],
    ids=str,
)
def test_dpm_solver_has_the_settings_of_diffusers(settings: dict[str, Any]) -> None:
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    for count in (3, 14, 15, 20):
        theirs = diffusers.DPMSolverMultistepScheduler(
            **{**SCHEDULES[0], "use_karras_sigmas": True, **settings}
        )
        ours = DPMSolver(dict(theirs.config))
        theirs.set_timesteps(count)
        ours.set_timesteps(count)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()
        assert_equal(denoised(ours, latents.numpy(), 0), denoised(theirs, latents, 0))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("strength", [1.0, 0.61, 0.2])
def test_consistency_equals_diffusers(prediction: str, strength: float) -> None:
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    for count, original in [(1, 50), (4, 50), (5, 25), (8, 40)]:
        theirs = diffusers.LCMScheduler(prediction_type=prediction)
        theirs.set_timesteps(count, original_inference_steps=original, strength=strength)
        ours = Consistency(dict(theirs.config))
        ours.set_timesteps(count, original, strength)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()
        generator, numbers = torch.Generator().manual_seed(6), TwisterNumbers(6)
        expected, found = latents, latents.numpy()
        for timestep in theirs.timesteps:
            output = network(expected, timestep)
            expected, clean = theirs.step(
                output, timestep, expected, generator=generator, return_dict=False
            )
            found, our_clean = ours.step(network(found, timestep), timestep, found, numbers)
            assert_equal(found, expected)
            assert_equal(our_clean, clean)


STABLE_DIFFUSION = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prediction_type": "v_prediction"},
        {"set_alpha_to_one": True, "steps_offset": 0},
        {"timestep_spacing": "trailing", "num_train_timesteps": 500},
        {"timestep_spacing": "linspace"},
    ],
    ids=str,
)
def test_pndm_equals_diffusers_for_any_number_of_steps(settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(8)
    latents, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    for count in range(1, 51):
        for begin in {0, 1, count // 2, count}:  # timesteps are one more from two steps on
            theirs = diffusers.PNDMScheduler(**(STABLE_DIFFUSION | settings))
            theirs.set_timesteps(count)
            begin = min(begin, len(theirs.timesteps) - 1)
            ours = PNDM(dict(theirs.config))
            assert PNDM.supports(dict(theirs.config))
            ours.set_timesteps(count)
            assert ours.timesteps.tolist() == theirs.timesteps.tolist()
            added = noise if begin else None
            found = denoised(ours, latents.numpy(), begin, None if begin == 0 else noise.numpy())
            assert_equal(found, denoised(theirs, latents, begin, added))


def test_what_is_not_supported_is_known() -> None:
    assert not DDIM.supports({})  # clips
    assert not DDIM.supports({"clip_sample": False, "thresholding": True})
    assert not DPMSolver.supports({"algorithm_type": "sde-dpmsolver++"})
    assert not DPMSolver.supports({"solver_order": 3})
    assert not DPMSolver.supports({"use_lu_lambdas": True})
    assert not Consistency.supports({"prediction_type": "flow_prediction"})
    assert not Consistency.supports({"beta_schedule": "sigmoid"})
    assert not PNDM.supports({})  # begins with Runge-Kutta steps
    assert not PNDM.supports({"skip_prk_steps": True, "prediction_type": "sample"})
