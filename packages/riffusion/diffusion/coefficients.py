"""Scheduler updates whose scalars are computed on the CPU, so that the CPU waits for no GPU.

The updates of diffusers' schedulers are sums of tensors times coefficients, which depend on the
noise schedule only. UniPC computes its coefficients on the tensors' device: on a GPU that is a
dozen kernels for single numbers, copies that wait for the GPU, and a linear solver. An update f of
tensors x₁ … xₙ is linear, so its coefficients are

    f(x₁, …, xₙ) = c₁ x₁ + … + cₙ xₙ        (c₁, …, cₙ) = f(e₁, …, eₙ)

where eᵢ is the i-th unit vector. A second call of the same code, with unit vectors on the CPU in
place of the latents, thus gives all coefficients. On a CPU the update itself is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import LMSDiscreteScheduler, UniPCMultistepScheduler

_NUM_CACHED = 4096
"""Coefficients of LMS: about 20 schedules of 50 steps."""

Update = Callable[[list[torch.Tensor]], torch.Tensor]
"""A linear function of some tensors of one shape, (1, channels, ...)."""


def update_by_coefficients(update: Update, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """`update` of tensors on any device; the CPU doesn't wait for the device.

    Args:
        update: a linear function; it may be called with tensors on the CPU of another size.
        tensors: (1, channels, height, width) each.
    """
    if tensors[0].device.type == "cpu":
        return update(list(tensors))
    units = torch.eye(len(tensors), dtype=tensors[0].dtype)
    coefficients: list[float] = (
        update([unit.view(1, -1, 1, 1) for unit in units]).flatten().tolist()
    )
    result = tensors[0] * coefficients[0]
    for coefficient, tensor in zip(coefficients[1:], tensors[1:], strict=True):
        result.add_(tensor, alpha=coefficient)
    return result


class CoefficientUniPCScheduler(UniPCMultistepScheduler):  # type: ignore[misc] # diffusers is untyped
    """UniPC (Zhao et al. 2023) of diffusers, whose scalars stay on the CPU."""

    def multistep_uni_p_bh_update(
        self, model_output: torch.Tensor, *, sample: torch.Tensor, order: int
    ) -> torch.Tensor:
        """The predictor; see diffusers."""

        def update(tensors: list[torch.Tensor]) -> torch.Tensor:
            with _model_outputs(self, tensors[1:]):
                predicted: torch.Tensor = super_update(
                    model_output=None, sample=tensors[0], order=order
                )
            return predicted

        super_update = super().multistep_uni_p_bh_update
        return update_by_coefficients(update, [sample, *self.model_outputs[-order:]])

    def multistep_uni_c_bh_update(
        self,
        this_model_output: torch.Tensor,
        *,
        last_sample: torch.Tensor,
        this_sample: torch.Tensor,
        order: int,
    ) -> torch.Tensor:
        """The corrector; see diffusers. It uses only device and type of `this_sample`."""
        del this_sample

        def update(tensors: list[torch.Tensor]) -> torch.Tensor:
            output, last, *outputs = tensors
            with _model_outputs(self, outputs):
                corrected: torch.Tensor = super_update(
                    output, last_sample=last, this_sample=last, order=order
                )
            return corrected

        super_update = super().multistep_uni_c_bh_update
        tensors = [this_model_output, last_sample, *self.model_outputs[-order:]]
        return update_by_coefficients(update, tensors)


class _model_outputs:  # noqa: N801 - a context manager, used like a function
    """Replace a scheduler's last model outputs within the block."""

    def __init__(self, scheduler: Any, outputs: list[torch.Tensor]) -> None:
        self._scheduler, self._outputs = scheduler, outputs

    def __enter__(self) -> None:
        self._before = self._scheduler.model_outputs
        self._scheduler.model_outputs = self._outputs

    def __exit__(self, *_: object) -> None:
        self._scheduler.model_outputs = self._before


class CachedLMSScheduler(LMSDiscreteScheduler):  # type: ignore[misc] # diffusers is untyped
    """LMS of diffusers, which integrates its coefficients numerically, once per noise schedule."""

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """A coefficient of step `t`; see diffusers."""
        first, last = t - order + 1, t + 1  # of the schedule, only these noise levels count
        levels = self.sigmas[first : last + 1].numpy()
        return _lms_coefficient(levels.tobytes(), order, current_order)


@functools.lru_cache(maxsize=_NUM_CACHED)
def _lms_coefficient(levels: bytes, order: int, current_order: int) -> float:
    scheduler = LMSDiscreteScheduler()
    scheduler.sigmas = torch.from_numpy(np.frombuffer(levels, dtype=np.float32).copy())
    coefficient: float = scheduler.get_lms_coefficient(order, order - 1, current_order)
    return coefficient
