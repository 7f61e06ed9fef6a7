"""All parts of an evaluation in order: a checkpoint and a data set in, a report out."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError, RiffusionError
from riffusion.evaluation.classifier.files import load_classifier
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.evaluation.progress import Progress, silent
from riffusion.evaluation.prompts import held_out_wordings
from riffusion.evaluation.reference_clips import choose_labels, kinds_by_label, load_clips
from riffusion.evaluation.report.scores import CheckpointFacts, DatasetFacts, Material, Report
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import PARTS_OF_DRAWN_CLIPS, EvaluationSettings
from riffusion.evaluation.stages import (
    Evaluation,
    draw_clips,
    measure_adherence,
    measure_diversity,
    measure_frechet,
    measure_img2img,
    measure_interpolation,
    measure_memorization,
    measure_vae,
    measure_with_clap,
    prepare_classifier,
)
from riffusion.spectrogram.compatibility import check_compatible_params

logger = logging.getLogger(__name__)

Measure = Callable[[Evaluation], None]
"""One part."""


def evaluate(
    checkpoint: str | None,
    dataset: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    classifier: Path | None = None,
    clap: Path | None = None,
    device: str | None = None,
    progress: Progress = silent,
) -> tuple[Report, Material]:
    """Evaluate a checkpoint.

    Args:
        checkpoint: anything that `RiffusionPipeline.from_pretrained` reads.
        dataset: a data-set folder with labels in both splits.
        settings: what is measured, and how.
        classifier: folder with a classifier trained elsewhere; None trains one.
        clap: folder with a CLAP model; None for no CLAP.
        device: see `select_device`.
        progress: opens a stage for each long job.

    Returns:
        The scores, and the images behind them. A part that fails doesn't take the others with
        it: it stands in the report's `failures`.

    Raises:
        InputError: data set, classifier and checkpoint don't fit each other or the settings.
        CheckpointError: the checkpoint is damaged, or every part fails, such as by drawing NaN.
    """
    settings = settings or EvaluationSettings()
    if clap is not None and not settings.needs_drawn_clips:
        raise InputError(
            f"{str(clap)!r} goes with parts that draw clips; add one of "
            f"{', '.join(PARTS_OF_DRAWN_CLIPS)} to --parts, or leave it out",
            field="clap",
        )
    started = time.perf_counter()
    folder = DatasetFolder(dataset)
    labels = choose_labels(folder, settings.labels)
    judge = None if classifier is None else load_classifier(classifier)
    from riffusion.diffusion import RiffusionPipeline

    pipeline = RiffusionPipeline.from_pretrained(checkpoint, device=device)
    check_compatible_params(pipeline.spectrogram_params, folder.params)
    embedder = None if clap is None else ClapEmbedder(clap, folder.params)

    most, seed = settings.max_reference_clips, settings.seed
    held_out = load_clips(
        folder, "validation", labels, max_clips=most, seed=seed, progress=progress
    )
    train = None
    if (settings.needs_classifier and judge is None) or "memorization" in settings.parts:
        train = load_clips(folder, "train", labels, max_clips=most, seed=seed, progress=progress)
    report = Report(
        settings=settings,
        checkpoint=CheckpointFacts(
            description="" if pipeline.checkpoint is None else pipeline.checkpoint.description,
            unet_parameters=sum(weight.numel() for weight in pipeline.unet.parameters()),
            vae_parameters=sum(weight.numel() for weight in pipeline.vae.parameters()),
        ),
        dataset=DatasetFacts(
            name=folder.directory.resolve().name,
            labels=labels,
            kinds=kinds_by_label(held_out.rows),
            held_out_wordings=tuple(
                sorted(held_out_wordings(folder.rows("train"), folder.rows("validation")))
            ),
            training_clips=0 if train is None else len(train),
            held_out_clips=len(held_out),
        ),
    )
    drawer = Sampler(pipeline, settings, held_out.size, progress)
    run = Evaluation(settings, drawer, held_out, train, judge, progress, report)
    if "interpolation" in settings.parts:
        for prompt in (settings.interpolate_from, settings.interpolate_to):
            drawer.request(prompt, seed)  # is refused now rather than after the other parts
    if settings.needs_classifier:
        _timed(run, "classifier", prepare_classifier)
    _measure(run, _wanted_parts(settings, embedder))
    report.timings_s["all"] = time.perf_counter() - started
    return report, run.material


def _wanted_parts(
    settings: EvaluationSettings, embedder: ClapEmbedder | None
) -> dict[str, Measure]:
    """What is measured, by name and in order."""
    parts: dict[str, Measure] = {
        "vae": measure_vae,
        "drawn clips": draw_clips,
        "adherence": measure_adherence,
        "frechet": measure_frechet,
        "diversity": measure_diversity,
        "memorization": measure_memorization,
        "img2img": measure_img2img,
        "interpolation": measure_interpolation,
    }
    wanted: set[str] = {*settings.parts}
    if settings.needs_drawn_clips:
        wanted.add("drawn clips")
    if embedder is not None:
        parts["clap"] = partial(measure_with_clap, embedder=embedder)
        wanted.add("clap")
    return {name: measure for name, measure in parts.items() if name in wanted}


def _measure(run: Evaluation, parts: Mapping[str, Measure]) -> None:
    """Each part in turn; what comes of the others is kept where one fails.

    Raises:
        Exception: all of them failed; the first one's.
    """
    errors: dict[str, Exception] = {}
    skipped = set()
    for name, measure in parts.items():
        if run.material.drawn is None and name in (*PARTS_OF_DRAWN_CLIPS, "clap"):
            skipped.add(name)
            continue
        try:
            _timed(run, name, measure)
        except Exception as error:  # whatever it is, the others took long
            errors[name] = error
            reason = " ".join(str(error).split())
            is_ours = isinstance(error, RiffusionError)
            run.report.failures[name] = reason if is_ours else f"{type(error).__name__}: {reason}"
            logger.debug("%s failed", name, exc_info=error)
    if {*errors} | skipped == {*parts}:
        raise next(iter(errors.values()))


def _timed(run: Evaluation, name: str, measure: Measure) -> None:
    begun = time.perf_counter()
    measure(run)
    run.report.timings_s[name] = time.perf_counter() - begun
