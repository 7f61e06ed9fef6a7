"""Sections that several tasks share."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from riffusion.datasets.config import Count, DataConfig, Positive, Section, Share

__all__ = ["Count", "DataConfig", "Positive", "Section", "Share"]

NetworkOptions = dict[str, Any]
"""Keyword arguments of a diffusers or transformers network; the recipe checks their names."""


class ReplayConfig(Section):
    """Old examples mixed among the new ones, so that the model doesn't forget them.

    Args:
        dataset: data set that the checkpoint was trained on, or a similar one.
        share: share of old examples, above 0 and below 1.
    """

    dataset: Path
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class FineTuneDataConfig(DataConfig):
    """`DataConfig` with old examples mixed in.

    Args:
        replay: which old examples, and their share; None for none.
    """

    replay: ReplayConfig | None = None


class OptimizerConfig(Section):
    """AdamW and its learning-rate schedule: linear warm-up, constant part, cosine decay to 0.

    Args:
        learning_rate: rate of the constant part.
        warmup_steps: steps of the linear warm-up from 0.
        flat_share: share of all steps at which the cosine decay begins.
        weight_decay, beta1, beta2: parameters of AdamW.
        max_grad_norm: gradients with a larger norm are scaled down to this norm.
    """

    learning_rate: Positive = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    flat_share: Share = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    max_grad_norm: Positive = 1.0


class RunConfig(Section):
    """Length, seed and precision of a run, and what it writes when.

    Args:
        steps: total number of optimizer steps.
        seed: seed of weights, order, noise and captions. The same seed gives the same run; on a GPU
            it is another one than on a CPU, as noise is drawn on the GPU.
        mixed_precision: `no`, `bf16` (also on CPUs that support it) or `fp16` (GPU only).
        gradient_checkpointing: saves memory, takes more time.
        compile: compile the networks in training with torch.compile, which takes a minute or two at
            the beginning and makes each step faster; CUDA only.
        ema_decay: decay of the EMA weights that are validated, sampled and exported; 0 is off.
        log_every, validate_every, sample_every, save_every: intervals in steps; 0 is never. The
            first sample grid is written early, after a tenth of `sample_every`.
        export_every: interval in steps at which the checkpoint is written during the run, too; 0
            writes it at the end alone.
        validation_batches: number of batches per validation, the same ones each time.
        keep_states: number of latest states to keep on disk.
    """

    steps: Count
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    compile: bool = False
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    log_every: Count = 20
    validate_every: Annotated[int, Field(ge=0)] = 500
    sample_every: Annotated[int, Field(ge=0)] = 1000
    save_every: Annotated[int, Field(ge=0)] = 500
    export_every: Annotated[int, Field(ge=0)] = 0
    validation_batches: Count = 8
    keep_states: Count = 2


class TimestepConfig(Section):
    """Sampling and weighting of timesteps.

    Args:
        min_snr_gamma: weights are clipped at this signal-to-noise ratio (Hang et al. 2023); None
            gives all timesteps the same weight.
        timesteps: `uniform`, or `logit_normal`, which prefers the middle (Esser et al. 2024).
    """

    min_snr_gamma: Positive | None = None
    timesteps: Literal["uniform", "logit_normal"] = "uniform"


class ObjectiveConfig(TimestepConfig):
    """What a diffusion model predicts, its noise schedule, and the weights of its loss.

    Args:
        prediction: `epsilon` (the noise) or `v_prediction` (Salimans & Ho 2022, section 4).
        noise_schedule: keyword arguments of diffusers' DDPMScheduler. They override those of
            Stable Diffusion, or for pixels those of Ho et al. 2020.
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
                "timestep, where the noise tells nothing about the image; use "
                "objective.prediction=v_prediction"
            )
        return self


class SampleConfig(Section):
    """The sample grid: one row per prompt, one column per seed.

    Args:
        prompts: the prompts; if empty, captions of the validation split are used.
        seeds: images per prompt.
        steps, guidance: inference steps, and scale of classifier-free guidance.
    """

    prompts: tuple[str, ...] = ()
    seeds: Count = 2
    steps: Count = 20
    guidance: Annotated[float, Field(ge=0)] = 4.0


class UnconditionalSampleConfig(Section):
    """The sample grid of an unconditional model.

    Args:
        images: number of images, with seeds 0, 1, …. `pictures` is accepted as the old name.
        sampler: `ddim` (Song et al. 2020), which is deterministic, or `ddpm` (Ho et al. 2020),
            which adds noise in each step and needs hundreds of steps.
        steps: inference steps.
    """

    images: Count = 6
    sampler: Literal["ddim", "ddpm"] = "ddim"
    steps: Count = 50


class EncodedSampleConfig(Section):
    """The sample grid: held-out images above the images generated from their encodings.

    Args:
        images: number of images. `pictures` is accepted as the old name.
        steps, guidance: DDIM steps, and scale of classifier-free guidance.
    """

    images: Count = 6
    steps: Count = 50
    guidance: Annotated[float, Field(ge=0)] = 2.0
