"""Losses of training steps, which stay on the device until their numbers are needed.

To read a number, the CPU waits until the GPU has done all work that was queued before it. Meanwhile
no work is queued, so the GPU then waits for the CPU. Read once per step, losses cost a good part of
the time of small networks; here they are read once for many steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from riffusion.training.recipes.recipe import Losses

_MAX_PENDING = 1000
"""Steps after which numbers are read anyway, as each step's losses take memory."""


@dataclass(frozen=True)
class NonFiniteStep:
    """A step whose loss or gradient isn't finite.

    Args:
        step: the step, counted from 1.
        loss: mean loss of all processes.
        gradient_norm: norm of the gradient.
    """

    step: int
    loss: float
    gradient_norm: float


@dataclass(frozen=True)
class _Pending:
    step: int
    parts: list[torch.Tensor]
    norm: torch.Tensor


class StepLosses:
    """The losses of the steps of a run.

    Args:
        accelerator: the accelerator of this process.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._names: list[str] = []
        self._pending: list[_Pending] = []
        self._read: list[dict[str, float]] = []
        # A CPU has computed the numbers already, so reading them costs nothing.
        self._max_pending = 1 if accelerator.device.type == "cpu" else _MAX_PENDING

    def add(self, step: int, parts: Sequence[Losses], gradient_norm: torch.Tensor) -> None:
        """Add a step.

        Args:
            step: the step, counted from 1.
            parts: losses of the step's batches.
            gradient_norm: norm of the gradient, before clipping.
        """
        self._names = list(parts[0])
        values = [torch.stack([v.detach().float() for v in part.values()]) for part in parts]
        self._pending.append(_Pending(step, values, gradient_norm.detach().float().reshape(1)))

    @property
    def is_full(self) -> bool:
        """Whether `check` is due, whatever else is."""
        return len(self._pending) >= self._max_pending

    def check(self) -> NonFiniteStep | None:
        """Read the losses of all steps that were added, with one wait for the device.

        With several processes, all must call this after the same step.

        Returns:
            The first step whose loss or gradient isn't finite, the same in every process; or None.
        """
        if not self._pending:
            return None
        tensors = [tensor for step in self._pending for tensor in (*step.parts, step.norm)]
        numbers = iter(torch.cat(tensors).tolist())
        norms = []
        for pending in self._pending:
            parts = [{name: next(numbers) for name in self._names} for _ in pending.parts]
            self._read.append(_means(parts))
            norms.append(next(numbers))
        losses = self._over_processes([read["loss"] for read in self._read[-len(norms) :]])
        steps = [pending.step for pending in self._pending]
        self._pending = []
        # The gradient scaler of fp16 skips non-finite gradients itself; a few occur at the start.
        are_gradients_scaled = self._accelerator.scaler is not None
        for step, loss, norm in zip(steps, losses, norms, strict=True):
            if not (math.isfinite(loss) and (math.isfinite(norm) or are_gradients_scaled)):
                return NonFiniteStep(step, loss, norm)
        return None

    def means(self) -> dict[str, float]:
        """The mean of each loss of this process over the steps read since the last call."""
        read, self._read = self._read, []
        return _means(read)

    def _over_processes(self, losses: list[float]) -> list[float]:
        """The mean of each loss over all processes."""
        if self._accelerator.num_processes == 1:
            return losses
        local = torch.tensor(losses, device=self._accelerator.device)
        reduced: list[float] = self._accelerator.reduce(local, reduction="mean").tolist()
        return reduced


def mean_losses(parts: Sequence[Losses]) -> dict[str, float]:
    """The mean of each loss over at least one batch, with one wait for the device."""
    values = torch.stack([torch.stack([v.detach().float() for v in p.values()]) for p in parts])
    return _means([dict(zip(parts[0], row, strict=True)) for row in values.tolist()])


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
