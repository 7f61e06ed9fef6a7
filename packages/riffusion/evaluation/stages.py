"""The parts of an evaluation: each fills its place in the report."""

import logging
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from riffusion.errors import InputError
from riffusion.evaluation.classifier.files import check_fits
from riffusion.evaluation.classifier.network import Classifier, Features
from riffusion.evaluation.classifier.training import train_classifier
from riffusion.evaluation.images import Plane, plane_from_image, shrink
from riffusion.evaluation.metrics.adherence import accuracy_by_label, score_adherence
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.evaluation.metrics.diversity import score_diversity
from riffusion.evaluation.metrics.frechet import score_frechet
from riffusion.evaluation.metrics.img2img_agreement import (
    SeedClip,
    choose_seed_clips,
    score_img2img,
    turn_clips,
)
from riffusion.evaluation.metrics.interpolation_smoothness import draw_paths, score_interpolation
from riffusion.evaluation.metrics.memorization import nearest_neighbours, score_memorization
from riffusion.evaluation.metrics.reconstruction import reconstruct, score_reconstruction
from riffusion.evaluation.metrics.sharpness import compare_sharpness
from riffusion.evaluation.progress import Progress
from riffusion.evaluation.prompts import choose_prompts
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.evaluation.report.scores import (
    ClassifierScores,
    DrawnClips,
    Material,
    NearPair,
    Report,
)
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.image_converter import params_from_image

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_CLAP_CLIPS = 200
"""Drawn clips, and as many real ones: turning an image into sound takes half a second."""
NUM_NEAR_PAIRS = 8
"""Nearest pairs that are shown."""
_MAX_SHARPNESS_CLIPS = 200
_LEAST_COPIED_CLIPS = 16
_VAE_CLIPS, _SHARPNESS_CLIPS, _CLAP_CLIPS, _COPIED_CLIPS = 7, 8, 9, 10
"""Tell these streams of random numbers from others of one seed."""


@dataclass
class Evaluation:
    """One evaluation under way.

    Args:
        settings: what is measured.
        drawer: the checkpoint at work.
        held_out: real clips that no training has seen.
        train: the training clips, where a part needs them.
        classifier: None until it is trained.
        progress: opens a stage.
        report: is filled.
        material: the images behind the scores.
        real_features: (held-out clips, features) of the classifier; None until it is there.
    """

    settings: EvaluationSettings
    drawer: Sampler
    held_out: ReferenceClips
    train: ReferenceClips | None
    classifier: Classifier | None
    progress: Progress
    report: Report
    material: Material = field(default_factory=Material)
    real_features: Features | None = None

    @property
    def judge(self) -> Classifier:
        """The classifier."""
        return _needed(self.classifier, "prepare_classifier")

    @property
    def drawn(self) -> DrawnClips:
        """The clips drawn from captions."""
        return _needed(self.material.drawn, "draw_clips")

    def rng(self, stream: int) -> np.random.Generator:
        """A stream of random numbers of its own."""
        return np.random.default_rng([self.settings.seed, stream])


def prepare_classifier(run: Evaluation) -> None:
    """Train a classifier where there is none, and test it on the held-out clips.

    Raises:
        InputError: the one that is there doesn't fit the data set.
    """
    held_out = run.held_out
    is_foreign = run.classifier is not None
    if run.classifier is None:
        run.classifier = train_classifier(
            _needed(run.train, "load_clips"),
            trained_on=run.report.dataset.name,
            steps=run.settings.classifier_steps,
            seed=run.settings.seed,
            progress=run.progress,
        )
    check_fits(run.classifier, held_out)
    run.real_features, probabilities = run.classifier.predict(held_out.small)
    heard = probabilities.argmax(-1)
    labels = accuracy_by_label(held_out.targets, held_out.labels, heard, run.judge.labels)
    run.report.classifier = ClassifierScores(
        trained_elsewhere=is_foreign,
        trained_on=run.classifier.facts.trained_on,
        training_clips=run.classifier.facts.clips,
        steps=run.classifier.facts.steps,
        accuracy=float(np.mean(list(labels.values()))),
        labels=labels,
        held_out_clips=len(held_out),
    )
    run.material.classifier = run.classifier


def measure_vae(run: Evaluation) -> None:
    """Reconstruct held-out clips; is their sound still heard?"""
    held_out = run.held_out
    chosen = held_out.some_of_each_label(run.settings.vae_clips_per_label, run.rng(_VAE_CLIPS))
    paths = [held_out.paths[index] for index in chosen]
    copies = reconstruct(run.drawer.pipeline, paths, run.progress)
    run.report.vae = score_reconstruction(copies, paths)
    run.material.reconstructions = copies
    run.material.reconstruction_names = [held_out.rows[index].file_name for index in chosen]
    if run.classifier is not None and run.report.classifier is not None:
        heard = run.classifier.predict_labels(_small(copies.copies))
        labels = accuracy_by_label(
            held_out.targets[chosen], held_out.labels, heard, run.judge.labels
        )
        run.report.classifier.accuracy_through_vae = float(np.mean(list(labels.values())))
        run.report.classifier.vae_clips = len(paths)


def draw_clips(run: Evaluation) -> None:
    """Draw clips for the held-out captions. How sharp are they?"""
    held_out, settings = run.held_out, run.settings
    prompts = choose_prompts(
        held_out.rows, held_out.labels, settings.clips_per_label, settings.seed
    )
    planes = run.drawer.from_prompts(prompts, "drawing clips")
    targets = np.array([held_out.labels.index(prompt.label) for prompt in prompts])
    drawn = DrawnClips(prompts, planes, targets, _small(planes))
    if run.report.classifier is not None:
        drawn.features, probabilities = run.judge.predict(drawn.small)
        drawn.heard = [run.judge.labels[index] for index in probabilities.argmax(-1)]
    run.material.drawn = drawn
    run.material.held_out = held_out
    each = max(1, _MAX_SHARPNESS_CLIPS // len(held_out.labels))
    chosen = held_out.some_of_each_label(each, run.rng(_SHARPNESS_CLIPS))
    real = [held_out.plane(int(index)) for index in chosen]
    run.report.sharpness = compare_sharpness(planes, real)


def measure_adherence(run: Evaluation) -> None:
    """Are drawn clips heard as what was asked for?"""
    report = run.report
    report.adherence = score_adherence(
        run.drawn.prompts,
        run.drawn.heard,
        run.judge.labels,
        _needed(report.classifier, "prepare_classifier").labels,
        report.dataset.kinds,
        set(report.dataset.held_out_wordings),
    )


def measure_frechet(run: Evaluation) -> None:
    """How far are drawn clips from real ones, as a whole?"""
    run.report.frechet = score_frechet(
        _needed(run.real_features, "prepare_classifier"),
        run.held_out.targets,
        _needed(run.drawn.features, "prepare_classifier"),
        run.drawn.targets,
        run.settings.seed,
    )


def measure_diversity(run: Evaluation) -> None:
    """Do drawn clips of one label differ as real ones do?"""
    run.report.diversity = score_diversity(
        _needed(run.real_features, "prepare_classifier"),
        run.held_out.targets,
        _needed(run.drawn.features, "prepare_classifier"),
        run.drawn.targets,
        run.held_out.labels,
    )


def measure_memorization(run: Evaluation) -> None:
    """Are drawn clips copies of training clips?"""
    drawn, train = run.drawn, _needed(run.train, "load_clips")
    of_drawn = nearest_neighbours(drawn.small, train.small, run.progress)
    of_real = nearest_neighbours(run.held_out.small, train.small, run.progress, "their yardstick")
    each = -(-_LEAST_COPIED_CLIPS // len(train.labels))
    some = train.some_of_each_label(each, run.rng(_COPIED_CLIPS))
    copies = reconstruct(run.drawer.pipeline, [train.paths[index] for index in some], run.progress)
    of_copies = nearest_neighbours(
        _small(copies.copies), train.small, run.progress, "copies' neighbours"
    )
    kinds = run.report.dataset.kinds
    run.report.memorization = score_memorization(
        of_drawn,
        of_real,
        of_copies,
        [kinds[prompt.label] for prompt in drawn.prompts],
        [kinds[row.label] for row in run.held_out.rows],
    )
    for index in np.argsort(of_drawn.distance, kind="stable")[:NUM_NEAR_PAIRS]:
        neighbour = int(of_drawn.index[index])
        plane = train.plane(neighbour)
        columns = round(int(of_drawn.roll[index]) / of_drawn.columns * plane.shape[1])
        run.material.near_pairs.append(
            NearPair(
                prompt=drawn.prompts[index],
                drawn=drawn.planes[index],
                training=np.roll(plane, columns, axis=1),
                training_file=train.rows[neighbour].file_name,
                distance=float(of_drawn.distance[index]),
            )
        )


def measure_with_clap(run: Evaluation, embedder: ClapEmbedder) -> None:
    """The Fréchet distance again, between sounds and in the features of CLAP."""
    drawn, held_out = run.drawn, run.held_out
    rng = run.rng(_CLAP_CLIPS)
    each = max(1, MAX_CLAP_CLIPS // len(held_out.labels))
    of_drawn = np.concatenate(
        [np.flatnonzero(drawn.targets == t)[:each] for t in range(len(held_out.labels))]
    )
    of_real = held_out.some_of_each_label(2 * each, rng)
    run.report.clap = score_frechet(
        embedder.embed([held_out.plane(int(i)) for i in of_real], run.progress, "CLAP, real"),
        held_out.targets[of_real],
        embedder.embed([drawn.planes[int(i)] for i in of_drawn], run.progress, "CLAP, drawn"),
        drawn.targets[of_drawn],
        run.settings.seed,
    )


def measure_img2img(run: Evaluation) -> None:
    """Turn clips into others at every strength."""
    held_out = run.held_out
    clips = choose_seed_clips(
        held_out, run.settings.img2img_seeds, _library_clips(held_out), run.settings.seed
    )
    turns = turn_clips(run.drawer, held_out, clips, run.settings)
    run.material.turns = turns
    run.report.img2img = score_img2img(turns, held_out, run.judge, run.settings, run.drawer)


def measure_interpolation(run: Evaluation) -> None:
    """Go from one prompt to the other."""
    paths = draw_paths(run.drawer, run.settings)
    real = _needed(run.real_features, "prepare_classifier")
    run.material.paths = paths
    run.report.interpolation = score_interpolation(paths, run.judge, real, run.settings)


def _library_clips(held_out: ReferenceClips) -> list[SeedClip]:
    """The project's own seed images, those that mean the same as the data set's images."""
    try:
        library = SeedLibrary.default()
    except InputError:
        return []
    clips = []
    for name in library.seed_image_ids:
        image = library.seed_image(name)
        if image.size == held_out.size and params_from_image(image) == held_out.params:
            clips.append(SeedClip(name, "", plane_from_image(image, held_out.params)))
    if len(clips) < len(library.seed_image_ids):
        logger.debug("only %d seed images have the data set's parameters", len(clips))
    return clips


def _small(planes: list[Plane]) -> Plane:
    small: npt.NDArray[np.uint8] = np.stack([shrink(plane) for plane in planes])
    return small


def _needed(value: T | None, comes_first: str) -> T:
    if value is None:
        raise RuntimeError(f"{comes_first} comes first")
    return value
