"""What an evaluation finds: scores as JSON values, and the images behind them."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.classifier.network import Classifier, Features
from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.adherence import AdherenceScores
from riffusion.evaluation.metrics.diversity import DiversityScores
from riffusion.evaluation.metrics.frechet import FrechetScores
from riffusion.evaluation.metrics.img2img_agreement import Img2ImgScores, Turn
from riffusion.evaluation.metrics.interpolation_smoothness import InterpolationScores
from riffusion.evaluation.metrics.memorization import MemorizationScores
from riffusion.evaluation.metrics.reconstruction import Reconstructions, ReconstructionScores
from riffusion.evaluation.metrics.sharpness import DrawnSharpness
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.evaluation.settings import EvaluationSettings

FORMAT = 1


@dataclass(frozen=True)
class CheckpointFacts:
    """What was evaluated.

    Args:
        description: name, origin, device and precision in one line.
        unet_parameters, vae_parameters: how many.
    """

    description: str
    unet_parameters: int
    vae_parameters: int


@dataclass(frozen=True)
class DatasetFacts:
    """What it was evaluated with.

    Args:
        name: of the folder.
        labels: that were evaluated.
        kinds: of each label.
        held_out_wordings: wordings of captions that only held-out clips have.
        training_clips: that were read; 0 if none were needed.
        held_out_clips: that were read.
    """

    name: str
    labels: tuple[str, ...]
    kinds: dict[str, str]
    held_out_wordings: tuple[str, ...]
    training_clips: int
    held_out_clips: int


@dataclass
class ClassifierScores:
    """How far the judge can be trusted.

    Args:
        trained_elsewhere: it was given, not trained here.
        trained_on: name of its data set.
        training_clips, steps: of its training.
        accuracy: on real held-out clips, mean over labels.
        labels: each label's accuracy.
        held_out_clips: of that test.
        accuracy_through_vae: on held-out clips that went through the VAE; None if none did.
        vae_clips: how many did.
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
    """All scores; None where a part was not measured.

    Args:
        clap: `frechet` in CLAP's features.
        sharpness: of the clips that `adherence`, `frechet` and others look at.
        timings_s: of each part.
        failures: why, of parts that failed.
    """

    settings: EvaluationSettings
    checkpoint: CheckpointFacts
    dataset: DatasetFacts
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
        """JSON values. Only `timings_s` differs from one run to the next."""
        return {"format": FORMAT} | asdict(self)


@dataclass
class DrawnClips:
    """Clips that were drawn from captions.

    Args:
        prompts: what was asked for.
        planes: what was drawn, (frequency, time) each.
        targets: (clips,) index of their labels.
        small: (clips, rows, columns) shrunk planes.
        features: (clips, features) of the classifier; None without one.
        heard: (clips,) label that each is heard as; empty without a classifier.
    """

    prompts: list[ClipPrompt]
    planes: list[Plane]
    targets: npt.NDArray[np.int64]
    small: Plane
    features: Features | None = None
    heard: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NearPair:
    """A drawn clip and its nearest training clip.

    Args:
        prompt: of the drawn clip.
        drawn: its plane.
        training: the training clip's plane, rolled to match.
        training_file: its file.
        distance: of the two.
    """

    prompt: ClipPrompt
    drawn: Plane
    training: Plane
    training_file: str
    distance: float


@dataclass
class Material:
    """The images behind the scores."""

    classifier: Classifier | None = None
    held_out: ReferenceClips | None = None
    drawn: DrawnClips | None = None
    near_pairs: list[NearPair] = field(default_factory=list)
    reconstructions: Reconstructions | None = None
    reconstruction_names: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    paths: list[list[Plane]] = field(default_factory=list)
