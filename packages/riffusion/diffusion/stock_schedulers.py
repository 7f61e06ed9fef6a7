"""Schedulers of diffusers, in the variants that don't make the CPU wait for a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from riffusion.diffusion.coefficients import CachedLMSScheduler, CoefficientUniPCScheduler


def new_stock_scheduler(
    class_name: str | None, settings: Mapping[str, Any], trained: SchedulerMixin
) -> SchedulerMixin:
    """A new scheduler with the configuration of another.

    Args:
        class_name: its class; None for that of `trained`.
        settings: these go before those of `trained`.
        trained: the checkpoint's scheduler.
    """
    scheduler_class = type(trained) if class_name is None else getattr(diffusers, class_name)
    return _without_waiting(scheduler_class).from_config(trained.config, **settings)


def _without_waiting(scheduler_class: type) -> Any:
    """A class's variant that doesn't make the CPU wait for a GPU, or the class itself."""
    variants = {
        diffusers.LMSDiscreteScheduler: CachedLMSScheduler,
        diffusers.UniPCMultistepScheduler: CoefficientUniPCScheduler,
    }
    return variants.get(scheduler_class, scheduler_class)
