"""`scheduler_config.json` without PyTorch: read, and checked before anything computes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from riffusion.checkpoint.files import read_json
from riffusion.errors import CheckpointError

_Beta = Annotated[float, Field(gt=0, lt=1)]
_Switch = bool | None
_MAX_TIMESTEPS = 1_000_000
_SHOWN_CHARACTERS = 40


class _Settings(BaseModel):
    """The settings that our samplers read, as diffusers names them; others are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    num_train_timesteps: int = Field(default=1000, ge=2, le=_MAX_TIMESTEPS)
    beta_start: _Beta = 0.0001
    beta_end: _Beta = 0.02
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[_Beta] | None = None
    rescale_betas_zero_snr: _Switch = False
    prediction_type: Literal["epsilon", "v_prediction", "sample", "flow_prediction"] = "epsilon"
    steps_offset: int = Field(default=0, ge=0, le=_MAX_TIMESTEPS)
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    thresholding: _Switch = False
    clip_sample: _Switch = False
    set_alpha_to_one: _Switch = False
    skip_prk_steps: _Switch = False
    solver_order: int = Field(default=2, ge=1, le=3)
    algorithm_type: str = "dpmsolver++"
    solver_type: str = "midpoint"
    lower_order_final: _Switch = True
    euler_at_final: _Switch = False
    use_karras_sigmas: _Switch = False
    use_exponential_sigmas: _Switch = False
    use_beta_sigmas: _Switch = False
    use_lu_lambdas: _Switch = False
    use_flow_sigmas: _Switch = False
    final_sigmas_type: Literal["zero", "sigma_min"] = "zero"
    lambda_min_clipped: Annotated[float, Field(allow_inf_nan=True, lt=float("inf"))] = 0.0
    variance_type: str | None = None
    original_inference_steps: int = Field(default=50, ge=1, le=_MAX_TIMESTEPS)
    timestep_scaling: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _has_a_beta_per_timestep(self) -> _Settings:
        betas = self.trained_betas
        if betas is not None and len(betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas has {len(betas)} numbers, and num_train_timesteps="
                f"{self.num_train_timesteps}"
            )
        return self


@dataclass(frozen=True)
class SchedulerConfig:
    """A checkpoint's scheduler without PyTorch: the content of its `scheduler_config.json`.

    Args:
        config: settings, and the class' name as `_class_name`.
    """

    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> SchedulerConfig:
        """Read the file.

        Raises:
            CheckpointError: it is missing or damaged, or a setting has a value that it can't have.
        """
        config = read_json(path)
        unset = config.get("_use_default_values", ())
        name = config.get("_class_name", "PNDMScheduler")
        if not isinstance(name, str) or not isinstance(unset, list | tuple):
            raise CheckpointError(
                f"{path}: _class_name and _use_default_values must be a name and a list of names; "
                "copy the file from the checkpoint again"
            )
        try:
            _Settings.model_validate({key: config[key] for key in config if key not in unset})
        except ValidationError as error:
            raise CheckpointError(
                f"{path}: {_problem(error)}; copy the file from the checkpoint again"
            ) from error
        return cls(config)


def _problem(error: ValidationError) -> str:
    """The first setting that is wrong, its value and the rule."""
    found: Any = error.errors()[0]
    what = str(found["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not found["loc"]:
        return what
    value = repr(found["input"])
    shown = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
    return f"{'.'.join(map(str, found['loc']))}={shown} must be {what}"
