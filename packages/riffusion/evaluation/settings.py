"""What an evaluation measures, and how."""

from dataclasses import dataclass
from typing import Literal, get_args

from riffusion.datatypes import SchedulerName
from riffusion.errors import InputError

Part = Literal[
    "listening",
    "adherence",
    "frechet",
    "diversity",
    "memorization",
    "vae",
    "img2img",
    "interpolation",
]
PARTS: tuple[Part, ...] = get_args(Part)
PARTS_OF_DRAWN_CLIPS: tuple[Part, ...] = (
    "listening",
    "adherence",
    "frechet",
    "diversity",
    "memorization",
)
"""Parts that score the clips drawn for the held-out captions."""
PARTS_WITHOUT_CLASSIFIER: tuple[Part, ...] = ("listening", "memorization", "vae")


@dataclass(frozen=True)
class EvaluationSettings:
    """What an evaluation measures, and how. Equal settings give equal scores on the same machine.

    Args:
        parts: parts to measure.
        labels: labels of the data set to evaluate; empty for all.
        clips_per_label: clips drawn for each label.
        tagger: name of the tagger that listens, see `riffusion.evaluation.tagger.TAGGERS`.
        max_reference_clips: maximum clips read per split, spread evenly over the labels; None
            reads all.
        classifier_steps: training steps of the classifier; None chooses by the number of clips.
        vae_clips_per_label: held-out clips per label that the VAE reconstructs.
        img2img_seeds: held-out clips that are init images of img2img, besides the seed images.
        img2img_targets: target labels for each of them.
        strengths: denoising strengths of img2img, in (0, 1].
        interpolate_from, interpolate_to: prompts at the ends of the path.
        interpolation_steps: steps from end to end; one image more than that is drawn.
        interpolation_paths: number of paths, each with its own seed.
        steps: denoising steps.
        guidance: classifier-free guidance scale.
        guidance_interval: guidance applies from the first to the second share of the steps.
        scheduler: name of the scheduler; None uses the checkpoint's.
        batch_size: clips per UNet call.
        seed: seed of every random choice.

    Raises:
        InputError: a value is out of range.
    """

    parts: tuple[Part, ...] = PARTS
    labels: tuple[str, ...] = ()
    clips_per_label: int = 12
    tagger: str = "magnatagatune"
    max_reference_clips: int | None = None
    classifier_steps: int | None = None
    vae_clips_per_label: int = 4
    img2img_seeds: int = 8
    img2img_targets: int = 2
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    interpolate_from: str = "piano"
    interpolate_to: str = "church bells"
    interpolation_steps: int = 10
    interpolation_paths: int = 4
    steps: int = 20
    guidance: float = 7.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    scheduler: SchedulerName | None = "dpmsolver++"
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(f"is empty; name some of {', '.join(PARTS)}", "parts")
        for part in self.parts:
            if part not in PARTS:
                raise InputError(f"{part!r} must be one of {', '.join(PARTS)}", "parts")
        if self.scheduler is not None and self.scheduler not in get_args(SchedulerName):
            known = ", ".join(get_args(SchedulerName))
            raise InputError(f"{self.scheduler!r} must be one of {known}", "scheduler")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("max_reference_clips", "classifier_steps"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{value!r} must be a whole number from {low} to {high}", name)
        if not 0 <= self.guidance <= 30:  # NaN fails the comparison
            raise InputError(f"{self.guidance} must be from 0 to 30", "guidance")
        first, last = self.guidance_interval
        if not 0 <= first <= last <= 1:
            raise InputError(
                f"{first:g} {last:g} must be two shares of the steps from 0 to 1, in order",
                "guidance_interval",
            )
        if not self.strengths or not all(0 < s <= 1 for s in self.strengths):
            raise InputError(f"{self.strengths} must be numbers over 0 and up to 1", "strengths")

    @property
    def needs_drawn_clips(self) -> bool:
        """Whether clips are drawn from the held-out captions."""
        return any(part in PARTS_OF_DRAWN_CLIPS for part in self.parts)

    @property
    def needs_classifier(self) -> bool:
        """Whether a part needs the classifier."""
        return any(part not in PARTS_WITHOUT_CLASSIFIER for part in self.parts)


_RANGES = {
    "clips_per_label": (2, 10_000),
    "max_reference_clips": (1, 10_000_000),
    "classifier_steps": (1, 1_000_000),
    "vae_clips_per_label": (1, 10_000),
    "img2img_seeds": (1, 1000),
    "img2img_targets": (1, 100),
    "interpolation_steps": (2, 1000),
    "interpolation_paths": (1, 1000),
    "steps": (1, 150),
    "batch_size": (1, 1024),
    "seed": (0, 2**31 - 1),
}
