"""The configuration of the task `distill`: latent consistency distillation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from riffusion.training.config.sections import Count, DataConfig, Positive, Section
from riffusion.training.config.tasks import LoraConfig, Task, check_uncropped

_TARGET_DECAY = {"full": 0.95, "lora": 0.0}
_GUIDED_SHARE = {"full": 0.25, "lora": 0.0}
"""Defaults by kind of student."""


class DistillationSampleConfig(Section):
    """The sample grid, drawn by the student in few steps: one row per prompt, one column per seed.

    Args:
        prompts: the prompts; if empty, captions of the validation split are used.
        seeds: images per prompt.
        steps: inference steps.
        guidance: the guidance that the student is told; None stands for the middle of its range. A
            LoRA student isn't told one.
    """

    prompts: tuple[str, ...] = ()
    seeds: Count = 2
    steps: Count = 4
    guidance: Annotated[float, Field(ge=1)] | None = None


class DistillationConfig(Task):
    """Latent consistency distillation of a checkpoint (Luo et al. 2023).

    Prediction type and noise schedule are the checkpoint's.
    """

    task: Literal["distill"]
    data: DataConfig
    checkpoint: str
    """The teacher: folder, single file or hub id, as for `--checkpoint`."""
    student: Literal["full", "lora"] = "full"
    """`full` trains a copy of the UNet that is told the guidance; `lora` trains a LoRA for the
    teacher, which learns the mean over the guidance scales of `guidance`."""
    lora: LoraConfig | None = None
    """LoRA of the student `lora`; None stands for the defaults."""
    guidance: tuple[float, float] = (1.0, 10.0)
    """Lowest and highest guidance scale of the teacher; one is drawn per example, uniformly."""
    solver_steps: Count = 50
    """DDIM steps from pure noise to the clean image; the student learns to skip them."""
    loss: Literal["huber", "l2"] = "huber"
    huber_c: Positive = 0.001
    """Errors well above it count linearly, well below it by their square."""
    target_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the moving average that the student's targets come from; 0 takes them from the
    student itself. None stands for 0.95, and for a LoRA for 0."""
    guided_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of each batch that keeps ordinary guided sampling working; 0 gives it up. None stands
    for 0.25, and for a LoRA for 0."""
    max_steps: Count = 8
    """The most inference steps that the exported checkpoint offers."""
    sample: DistillationSampleConfig = DistillationSampleConfig()

    @property
    def decay(self) -> float:
        """`target_decay`, or its default."""
        return _TARGET_DECAY[self.student] if self.target_decay is None else self.target_decay

    def num_guided(self, batch_size: int) -> int:
        """Examples of a batch that train ordinary sampling."""
        share = _GUIDED_SHARE[self.student] if self.guided_share is None else self.guided_share
        return max(1, round(share * batch_size)) if share > 0 else 0

    @property
    def is_guided(self) -> bool:
        """Whether the student is trained for ordinary guided sampling, too."""
        return self.num_guided(1) > 0

    @property
    def sample_guidance(self) -> float:
        """Guidance of the sample grid."""
        return sum(self.guidance) / 2 if self.sample.guidance is None else self.sample.guidance

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_uncropped(self.data)
        self._check_guidance()
        if self.student == "lora":
            self._check_lora_student()
        elif self.lora is not None:
            raise ValueError(
                "lora is for student=lora, but student='full' trains the whole UNet; leave one of "
                "them out"
            )
        self._check_guided_share()
        self._check_steps()
        return self

    def _check_steps(self) -> None:
        if self.max_steps > self.solver_steps:
            raise ValueError(
                f"max_steps={self.max_steps} exceeds solver_steps={self.solver_steps}, the steps "
                "that the student learns to skip; lower it"
            )
        if self.sample.steps > self.max_steps:
            raise ValueError(
                f"sample.steps={self.sample.steps} exceeds max_steps={self.max_steps}, the most "
                "that the checkpoint offers; lower it"
            )

    def _check_guidance(self) -> None:
        low, high = self.guidance
        if not 1 <= low <= high:
            raise ValueError(
                f"guidance=[{low:g}, {high:g}] must be the lowest and the highest scale, from 1 "
                "(no guidance) upwards, as in [1, 10]"
            )
        if self.student == "full" and not low <= self.sample_guidance <= high:
            raise ValueError(
                f"sample.guidance={self.sample_guidance:g} is outside guidance=[{low:g}, {high:g}],"
                " the range that the student learns; choose one inside it"
            )

    def _check_lora_student(self) -> None:
        if self.decay > 0:
            raise ValueError(
                f"target_decay={self.decay:g} needs a second copy of the weights, which student="
                "lora doesn't have; leave it out, or set student=full"
            )
        if self.guided_share:
            raise ValueError(
                f"guided_share={self.guided_share:g} is for student=full; a LoRA can be taken off "
                "for guided sampling: leave guided_share out"
            )
        modules = self.lora and self.lora.unet_modules
        if modules == ():
            raise ValueError("lora.unet_modules=[] updates nothing; name layers, or leave it out")
        if self.lora is not None and self.lora.text_encoder_modules is not None:
            raise ValueError(
                "lora.text_encoder_modules contradicts task=distill, which trains the UNet alone; "
                "leave it out"
            )

    def _check_guided_share(self) -> None:
        size = self.data.batch_size
        if self.num_guided(size) == size:
            raise ValueError(
                f"data.batch_size={size} leaves no example for distillation beside those of "
                "guided_share; raise the batch size, or lower guided_share, to 0 if guided "
                "sampling isn't needed"
            )
