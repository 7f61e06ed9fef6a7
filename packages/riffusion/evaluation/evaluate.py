"""An evaluation from end to end: checkpoint and data set in, report out."""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from riffusion.audio.compiled_librosa import check_librosa
from riffusion.datasets.folder import DatasetFolder
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError, RiffusionError
from riffusion.evaluation.classifier.files import load_classifier
from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.classifier.training import train_classifier
from riffusion.evaluation.disk_cache import DiskCache
from riffusion.evaluation.listening_stage import listen
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.evaluation.metrics.hearing import Listener
from riffusion.evaluation.metrics.interpolation_smoothness import draw_paths, score_interpolation
from riffusion.evaluation.progress import Progress, silent
from riffusion.evaluation.prompts import held_out_templates
from riffusion.evaluation.reference_clips import (
    ReferenceClips,
    choose_labels,
    kinds_by_label,
    load_clips,
)
from riffusion.evaluation.report.scores import (
    CheckpointFacts,
    DatasetFacts,
    DrawnClips,
    Material,
    Report,
)
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import PARTS_OF_DRAWN_CLIPS, EvaluationSettings
from riffusion.evaluation.stages import (
    ScoredClassifier,
    Setup,
    draw_clips,
    measure_adherence,
    measure_diversity,
    measure_frechet,
    measure_img2img,
    measure_memorization,
    measure_sharpness,
    measure_vae,
    measure_with_clap,
    predict_clips,
    score_classifier,
    score_classifier_through_vae,
)
from riffusion.evaluation.tagger import Tagger
from riffusion.spectrogram.compatibility import check_compatible_params

logger = logging.getLogger(__name__)

TrainingClips = Callable[[], ReferenceClips]
"""Loads the training clips on the first call."""


def evaluate(
    checkpoint: str | None,
    dataset: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    classifier: Path | None = None,
    clap: Path | None = None,
    cache: Path | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> tuple[Report, Material]:
    """Evaluate a checkpoint.

    Args:
        checkpoint: anything that `RiffusionPipeline.from_pretrained` reads.
        dataset: a data-set folder with labels in both splits.
        settings: what is measured, and how.
        classifier: folder of a classifier that was trained elsewhere; None trains one.
        clap: folder of a CLAP model; None skips CLAP.
        cache: folder that remembers what is heard in real clips; None remembers nothing.
        device: see `select_device`.
        progress: opens a progress stage for each long job.

    Returns:
        The scores, and the images behind them. If a part fails, the others are still measured, and
        the reason is in the report's `failures`.

    Raises:
        InputError: data set, classifier and checkpoint don't fit each other or the settings.
        CheckpointError: the checkpoint is damaged, or every part fails, for example because every
            image is NaN.
    """
    settings = settings or EvaluationSettings()
    if clap is not None and not settings.needs_drawn_clips:
        raise InputError(
            f"{str(clap)!r} is only used by parts that draw clips; add one of "
            f"{', '.join(PARTS_OF_DRAWN_CLIPS)} to --parts, or leave out --clap",
            field="clap",
        )
    started = time.perf_counter()
    folder = DatasetFolder(dataset)
    labels = choose_labels(folder, settings.labels)
    given = None if classifier is None else load_classifier(classifier)
    pipeline = RiffusionPipeline.from_pretrained(checkpoint, device=device)
    check_compatible_params(pipeline.spectrogram_params, folder.params)
    embedder = None if clap is None else ClapEmbedder(clap, folder.params)
    listener = None
    if "listening" in settings.parts:
        check_librosa()
        tagger = Tagger.load(settings.tagger)
        listener = Listener(tagger, folder.params.sample_rate, DiskCache(cache))

    load = functools.partial(
        load_clips,
        labels=labels,
        max_clips=settings.max_reference_clips,
        seed=settings.seed,
        progress=progress,
    )
    held_out = load(folder, "validation")
    training_clips = functools.cache(lambda: load(folder, "train"))
    needs_training_clips = "memorization" in settings.parts or (
        settings.needs_classifier and given is None
    )
    templates = held_out_templates(folder.rows("train"), folder.rows("validation"))
    facts = DatasetFacts(
        name=folder.directory.resolve().name,
        labels=labels,
        kinds=kinds_by_label(held_out.rows),
        held_out_wordings=tuple(sorted(templates)),
        # Loaded now, so that a damaged image is reported before the long stages.
        training_clips=len(training_clips()) if needs_training_clips else 0,
        held_out_clips=len(held_out),
    )
    sampler = Sampler(pipeline, settings, held_out.size, progress)
    if set(settings.parts) != {"vae"}:
        sampler.check()  # raises before the long stages, as below
    if "interpolation" in settings.parts:
        for prompt in (settings.interpolate_from, settings.interpolate_to):
            sampler.request(prompt, settings.seed)

    report = Report(settings, CheckpointFacts.of_pipeline(pipeline), facts)
    material = Material(held_out)
    setup = Setup(settings, sampler, held_out, facts, progress)
    _run_stages(setup, given, training_clips, listener, embedder, report, material)
    report.timings_s["all"] = time.perf_counter() - started
    return report, material


def _run_stages(
    setup: Setup,
    given: Classifier | None,
    training_clips: TrainingClips,
    listener: Listener | None,
    embedder: ClapEmbedder | None,
    report: Report,
    material: Material,
) -> None:
    """Run the stages that the settings ask for, and fill in the report and its material.

    Raises:
        Exception: no part succeeded; the error of the first one.
    """
    settings, parts = setup.settings, setup.settings.parts
    stages = _Stages(report)
    scored: ScoredClassifier | None = None
    if settings.needs_classifier:
        begun = time.perf_counter()
        classifier = given or _train(setup, training_clips())
        scored = score_classifier(setup, classifier, trained_elsewhere=given is not None)
        report.classifier, material.classifier = scored.scores, classifier
        report.timings_s["classifier"] = time.perf_counter() - begun
    if "vae" in parts:
        with stages.attempt("vae"):
            material.vae = measure_vae(setup)
            report.vae = material.vae.scores
            if scored is not None:
                report.classifier = score_classifier_through_vae(setup, material.vae, scored)
    if settings.needs_drawn_clips:
        with stages.attempt("drawn clips"):
            drawn = draw_clips(setup)
            report.sharpness = measure_sharpness(setup, drawn)
            material.drawn = drawn
    if material.drawn is not None and listener is not None:
        with stages.attempt("listening"):
            report.listening = listen(setup, material.drawn, listener)
    if material.drawn is not None and scored is not None:
        _score_predictions(setup, material.drawn, scored, stages, report, material)
    if material.drawn is not None and "memorization" in parts:
        with stages.attempt("memorization"):
            report.memorization, material.near_pairs = measure_memorization(
                setup, material.drawn, training_clips()
            )
    if scored is not None and "img2img" in parts:
        with stages.attempt("img2img"):
            report.img2img, material.variations = measure_img2img(setup, scored.classifier)
    if scored is not None and "interpolation" in parts:
        with stages.attempt("interpolation"):
            material.paths = draw_paths(setup.sampler, settings)
            report.interpolation = score_interpolation(
                material.paths, scored.classifier, scored.real_features, settings
            )
    if material.drawn is not None and embedder is not None:
        with stages.attempt("clap"):
            report.clap = measure_with_clap(setup, material.drawn, embedder)
    stages.check_any_succeeded()


def _train(setup: Setup, clips: ReferenceClips) -> Classifier:
    return train_classifier(
        clips,
        trained_on=setup.dataset.name,
        steps=setup.settings.classifier_steps,
        seed=setup.settings.seed,
        progress=setup.progress,
    )


def _score_predictions(
    setup: Setup,
    drawn: DrawnClips,
    scored: ScoredClassifier,
    stages: "_Stages",
    report: Report,
    material: Material,
) -> None:
    """The parts that compare the classifier's predictions for drawn clips."""
    predicted = predict_clips(drawn, scored.classifier)
    material.predicted_labels = predicted.labels
    parts = setup.settings.parts
    if "adherence" in parts:
        with stages.attempt("adherence"):
            report.adherence = measure_adherence(setup, predicted, scored)
    if "frechet" in parts:
        with stages.attempt("frechet"):
            report.frechet = measure_frechet(setup, predicted, scored)
    if "diversity" in parts:
        with stages.attempt("diversity"):
            report.diversity = measure_diversity(setup, predicted, scored)


class _Stages:
    """Runs stages of which one may fail without the others. Timings and failures are reported."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._errors: list[Exception] = []
        self._any_succeeded = False

    def attempt(self, name: str) -> AbstractContextManager[None, bool]:
        """A stage: its time is recorded if it succeeds, its error if it fails."""
        return _Attempt(self, name, time.perf_counter())

    def succeeded(self, name: str, seconds: float) -> None:
        self._any_succeeded = True
        self._report.timings_s[name] = seconds

    def failed(self, name: str, error: Exception) -> None:
        self._errors.append(error)
        reason = " ".join(str(error).split())
        is_ours = isinstance(error, RiffusionError)
        self._report.failures[name] = reason if is_ours else f"{type(error).__name__}: {reason}"
        logger.debug("%s failed", name, exc_info=error)

    def check_any_succeeded(self) -> None:
        """Raise the first error if every stage failed."""
        if self._errors and not self._any_succeeded:
            raise self._errors[0]


@dataclass
class _Attempt(AbstractContextManager[None, bool]):
    stages: _Stages
    name: str
    begun: float

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None:
            self.stages.succeeded(self.name, time.perf_counter() - self.begun)
            return False
        if not isinstance(error, Exception):  # Ctrl-C ends the evaluation
            return False
        self.stages.failed(self.name, error)  # the other stages may take hours: keep their scores
        return True
