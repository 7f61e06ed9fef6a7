"""Coefficients of LMS are diffusers', and integrated once per noise schedule."""

from typing import Any

import pytest
import scipy.integrate
import torch
from diffusers import LMSDiscreteScheduler

from riffusion.diffusion.coefficients import CachedLMSScheduler, _lms_coefficient

STEPS = 9


def latents_after_all_steps(scheduler: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scheduler.set_timesteps(STEPS)
    latents = torch.randn(1, 4, 2, 3, generator=generator) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(latents, timestep)
        output = torch.randn(latents.shape, generator=generator)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("options", [{}, {"use_karras_sigmas": True}, {"beta_end": 0.015}])
def test_lms_integrates_once_per_schedule(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quad = scipy.integrate.quad
    num_integrals = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal num_integrals
        num_integrals += 1
        return quad(*args, **kwargs)

    monkeypatch.setattr(scipy.integrate, "quad", counted)
    _lms_coefficient.cache_clear()
    expected = latents_after_all_steps(LMSDiscreteScheduler(**options))
    of_diffusers, num_integrals = num_integrals, 0
    assert torch.equal(latents_after_all_steps(CachedLMSScheduler(**options)), expected)
    assert num_integrals == of_diffusers == 1 + 2 + 3 + 4 * (STEPS - 3)
    assert torch.equal(latents_after_all_steps(CachedLMSScheduler(**options)), expected)
    assert num_integrals == of_diffusers
