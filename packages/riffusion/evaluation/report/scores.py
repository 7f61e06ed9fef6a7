"""The result of an evaluation: its scores, which are written as JSON, and the images behind them.

Field names of the scores are the keys of `report.json`.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from riffusion.diffusion import RiffusionPipeline
from riffusion.evaluation.classifier.network import Classifier, Features
from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.adherence import AdherenceScores
from riffusion.evaluation.metrics.diversity import DiversityScores
from riffusion.evaluation.metrics.frechet import FrechetScores
from riffusion.evaluation.metrics.img2img_agreement import Img2ImgScores, Variation
from riffusion.evaluation.metrics.interpolation_smoothness import InterpolationScores
from riffusion.evaluation.metrics.listening import ListeningScores
from riffusion.evaluation.metrics.memorization import MemorizationScores
from riffusion.evaluation.metrics.reconstruction import Reconstructions, ReconstructionScores
from riffusion.evaluation.metrics.sharpness import DrawnSharpness
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.evaluation.settings import EvaluationSettings

FORMAT = 1


@dataclass(frozen=True)
class CheckpointFacts:
    """The checkpoint that was evaluated.

    Args:
        description: name, origin, device and precision in one line.
        unet_parameters, vae_parameters: number of weights.
    """

    description: str
    unet_parameters: int
    vae_parameters: int

    @classmethod
    def of_pipeline(cls, pipeline: RiffusionPipeline) -> Self:
        """The facts about a pipeline's checkpoint."""
        return cls(
            description="" if pipeline.checkpoint is None else pipeline.checkpoint.description,
            unet_parameters=sum(weight.numel() for weight in pipeline.unet.parameters()),
            vae_parameters=sum(weight.numel() for weight in pipeline.vae.parameters()),
        )


@dataclass(frozen=True)
class DatasetFacts:
    """The data set that it was evaluated with.

    Args:
        name: name of the folder.
        labels: the labels that were evaluated.
        kinds: kind of each label.
        held_out_wordings: caption templates that only held-out clips have.
        training_clips: number of training clips that were read; 0 if none were needed.
        held_out_clips: number of held-out clips that were read.
    """

    name: str
    labels: tuple[str, ...]
    kinds: dict[str, str]
    held_out_wordings: tuple[str, ...]
    training_clips: int
    held_out_clips: int


@dataclass(frozen=True)
class ClassifierScores:
    """Accuracy of the classifier on real clips.

    Args:
        trained_elsewhere: whether it was loaded rather than trained by this evaluation.
        trained_on: name of the data set that it was trained on.
        training_clips, steps: number of clips and steps of its training.
        accuracy: accuracy on real held-out clips, mean over labels.
        labels: accuracy of each label.
        held_out_clips: number of clips that it was tested on.
        accuracy_through_vae: accuracy on held-out clips that the VAE reconstructed; None if that
            was not measured.
        vae_clips: number of those clips.
    """

    trained_elsewhere: bool
    trained_on: str
    training_clips: int
    steps: int
    accuracy: float
    labels: dict[str, float]
    held_out_clips: int
    accuracy_through_vae: float | None = None
    vae_clips: int = 0


@dataclass
class Report:
    """All scores; a part that was not measured is None.

    Args:
        clap: `frechet` in CLAP's features.
        sharpness: sharpness of the clips that `adherence`, `frechet` and others score.
        timings_s: seconds per part.
        failures: the reason for each part that failed.
    """

    settings: EvaluationSettings
    checkpoint: CheckpointFacts
    dataset: DatasetFacts
    listening: ListeningScores | None = None
    classifier: ClassifierScores | None = None
    adherence: AdherenceScores | None = None
    frechet: FrechetScores | None = None
    clap: FrechetScores | None = None
    diversity: DiversityScores | None = None
    sharpness: DrawnSharpness | None = None
    memorization: MemorizationScores | None = None
    vae: ReconstructionScores | None = None
    img2img: Img2ImgScores | None = None
    interpolation: InterpolationScores | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values. Runs with equal settings differ in `timings_s` only."""
        return {"format": FORMAT} | asdict(self)


@dataclass(frozen=True)
class DrawnClips:
    """Clips that were drawn from captions.

    Args:
        prompts: the prompts.
        planes: the results, (frequency, time) each.
        targets: (clips,) index of the label of each prompt.
        small: (clips, rows, frames) shrunk planes.
    """

    prompts: list[ClipPrompt]
    planes: list[Plane]
    targets: npt.NDArray[np.int64]
    small: Plane


@dataclass(frozen=True)
class PredictedClips:
    """Drawn clips with the classifier's predictions.

    Args:
        drawn: the clips.
        features: (clips, features).
        labels: the predicted label of each clip.
    """

    drawn: DrawnClips
    features: Features
    labels: list[str]


@dataclass(frozen=True)
class VaeResult:
    """Held-out clips and their reconstructions.

    Args:
        scores: the errors.
        reconstructions: originals and copies.
        clips: index of each among the held-out clips.
        file_names: file name of each.
    """

    scores: ReconstructionScores
    reconstructions: Reconstructions
    clips: npt.NDArray[np.int64]
    file_names: list[str]


@dataclass(frozen=True)
class NearPair:
    """A drawn clip and its nearest training clip.

    Args:
        prompt: prompt of the drawn clip.
        drawn: its plane.
        training: the training clip's plane, shifted circularly to match.
        training_file: its file name.
        distance: distance between the two.
    """

    prompt: ClipPrompt
    drawn: Plane
    training: Plane
    training_file: str
    distance: float


@dataclass
class Material:
    """The images behind the scores; what was not made is None or empty.

    Args:
        held_out: the held-out clips.
        classifier: the classifier that judged.
        drawn: clips drawn from captions.
        predicted_labels: label that the classifier predicts for each of them.
        near_pairs: drawn clips with the smallest distance to a training clip.
        vae: reconstructions.
        variations: results of img2img.
        paths: images of each interpolation.
    """

    held_out: ReferenceClips
    classifier: Classifier | None = None
    drawn: DrawnClips | None = None
    predicted_labels: list[str] = field(default_factory=list)
    near_pairs: list[NearPair] = field(default_factory=list)
    vae: VaeResult | None = None
    variations: list[Variation] = field(default_factory=list)
    paths: list[list[Plane]] = field(default_factory=list)
