"""What a distilled checkpoint can do: `distillation.json`, beside `model_index.json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riffusion.checkpoint.files import DISTILLATION_NAME, read_json
from riffusion.errors import CheckpointError
from riffusion.io.files import write_file


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What a distilled checkpoint can do.

    Args:
        max_steps: the most steps to sample it with as a distilled network.
        guidance: lowest and highest guidance scale that it can be told.
        guided_sampling: whether ordinary sampling, with two UNet rows per step, works as well.
        solver_steps: number of timesteps that it was distilled at, among which its few steps are
            chosen; None for those of the checkpoint's scheduler (`original_inference_steps`).
    """

    max_steps: int
    guidance: tuple[float, float]
    guided_sampling: bool
    solver_steps: int | None = None

    def save(self, directory: Path) -> None:
        """Write the file into a checkpoint's folder."""
        values = dataclasses.asdict(self) | {"guidance": list(self.guidance)}
        if self.solver_steps is None:
            del values["solver_steps"]
        write_file((json.dumps(values, indent=2) + "\n").encode(), directory / DISTILLATION_NAME)


PUBLISHED = Distillation(max_steps=8, guidance=(1.0, 14.0), guided_sampling=False)
"""Published latent consistency models, which have no such file."""


def read_distillation(directory: Path, unet_config: Mapping[str, Any]) -> Distillation | None:
    """What a checkpoint can do; None if its UNet isn't distilled.

    Args:
        directory: the checkpoint's folder.
        unet_config: the UNet's configuration. One with `time_cond_proj_dim` is told the guidance.

    Raises:
        CheckpointError: the file is damaged.
    """
    if unet_config.get("time_cond_proj_dim") is None:
        return None
    path = directory / DISTILLATION_NAME
    if not path.is_file():
        return PUBLISHED
    values = read_json(path)
    try:
        low, high = values["guidance"]
        steps, guided = values["max_steps"], values["guided_sampling"]
        is_valid = type(steps) is int and steps > 0 and type(guided) is bool
        solver_steps = values.get("solver_steps")
        is_valid &= solver_steps is None or (type(solver_steps) is int and solver_steps > 0)
        is_valid &= all(type(scale) in (int, float) for scale in (low, high))
        if not (is_valid and 1 <= low <= high < math.inf):
            raise ValueError("a value is out of range")
        return Distillation(steps, (float(low), float(high)), guided, solver_steps)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{path} must hold max_steps (a whole number), guidance ([lowest, highest], from 1) "
            "and guided_sampling (true or false), and may hold solver_steps (a whole number); "
            "download the checkpoint again"
        ) from error
