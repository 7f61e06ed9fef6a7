"""Sections of training configurations that several tasks share."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from riffusion.datasets.config import Count, DataConfig, Positive, Section, Share

__all__ = ["Count", "DataConfig", "Positive", "Section", "Share"]

NetworkOptions = dict[str, Any]
"""Keyword arguments of a diffusers or transformers network; the recipe checks the names."""


class ReplayConfig(Section):
    """Old examples among the new ones, so that what was learned of them stays.

    Args:
        dataset: folder of the old data, or of more of its kind.
        share: of the examples, over 0 and under 1.
    """

    dataset: Path
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class FineTuneDataConfig(DataConfig):
    """`DataConfig` with old examples mixed in.

    Args:
        replay: which ones, and how many.
    """

    replay: ReplayConfig | None = None


class OptimizerConfig(Section):
    """AdamW and its learning rate: linear warm-up, flat, then down to zero along a cosine.

    Args:
        learning_rate: in the flat part.
        warmup_steps: from zero to it.
        flat_share: of the steps, before the cosine begins.
        weight_decay, beta1, beta2: AdamW's.
        max_grad_norm: longer gradients are shortened to this.
    """

    learning_rate: Positive = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    flat_share: Share = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    max_grad_norm: Positive = 1.0


class RunConfig(Section):
    """How long, on what, and what is written on the way.

    Args:
        steps: optimizer steps in all.
        seed: of weights, order, noise and captions. The same seed gives the same run.
        mixed_precision: `no`, `bf16` (also on CPUs that have it) or `fp16`.
        gradient_checkpointing: less memory for more time.
        ema_decay: of the averaged weights that are validated, sampled and exported; 0 is off.
        log_every, validate_every, sample_every, save_every: in steps; 0 is never. The first sheet
            of samples comes early, after a tenth of `sample_every`.
        validation_batches: at most so many; the same ones each time.
        keep_states: how many of the latest states stay on disk.
    """

    steps: Count
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    log_every: Count = 20
    validate_every: Annotated[int, Field(ge=0)] = 500
    sample_every: Annotated[int, Field(ge=0)] = 1000
    save_every: Annotated[int, Field(ge=0)] = 500
    validation_batches: Count = 8
    keep_states: Count = 2


class TimestepConfig(Section):
    """How timesteps are drawn, and how errors at them count.

    Args:
        min_snr_gamma: weight of a timestep is cut off at this signal-to-noise ratio (Hang et al.
            2023); None weighs all timesteps alike.
        timesteps: `uniform`, or `logit_normal`, which prefers the middle (Esser et al. 2024).
    """

    min_snr_gamma: Positive | None = None
    timesteps: Literal["uniform", "logit_normal"] = "uniform"


class ObjectiveConfig(TimestepConfig):
    """What a diffusion model is asked for, and how errors count.

    Args:
        prediction: of `epsilon` (the noise) or `v_prediction` (Salimans & Ho 2022, section 4).
        noise_schedule: keyword arguments of diffusers' DDPMScheduler over Stable Diffusion's, or,
            for pixels, over those of Ho et al. 2020.
    """

    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    noise_schedule: NetworkOptions = {}  # noqa: RUF012 - pydantic copies defaults

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if "prediction_type" in self.noise_schedule:
            raise ValueError(
                "objective.noise_schedule.prediction_type contradicts objective.prediction="
                f"{self.prediction!r}; state it in objective.prediction alone"
            )
        if self.noise_schedule.get("rescale_betas_zero_snr") and self.prediction == "epsilon":
            raise ValueError(
                "objective.noise_schedule.rescale_betas_zero_snr=true leaves no signal at the last "
                "timestep, where the noise says nothing of the image; use "
                "objective.prediction=v_prediction"
            )
        return self


class SampleConfig(Section):
    """The sheet of samples: a row per prompt, a column per seed.

    Args:
        prompts: what to ask for; empty takes captions of the validation split.
        seeds: images per prompt.
        steps, guidance: of the sampler.
    """

    prompts: tuple[str, ...] = ()
    seeds: Count = 2
    steps: Count = 20
    guidance: Annotated[float, Field(ge=0)] = 4.0


class UnconditionalSampleConfig(Section):
    """The sheet of samples of a model that takes no orders.

    Args:
        images: how many, seeds 0, 1, ….
        sampler: `ddim` (Song et al. 2020), deterministic, or `ddpm` (Ho et al. 2020), which adds
            noise in each step and wants hundreds of them.
        steps: of the sampler.
    """

    images: Annotated[Count, Field(validation_alias=AliasChoices("images", "pictures"))] = 6
    sampler: Literal["ddim", "ddpm"] = "ddim"
    steps: Count = 50


class EncodedSampleConfig(Section):
    """The sheet of samples: held-out images above what their encodings are drawn as.

    Args:
        images: how many.
        steps, guidance: of the sampler, DDIM.
    """

    images: Annotated[Count, Field(validation_alias=AliasChoices("images", "pictures"))] = 6
    steps: Count = 50
    guidance: Annotated[float, Field(ge=0)] = 2.0
