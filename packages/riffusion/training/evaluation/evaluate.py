"""All parts of an evaluation in order: a checkpoint and a data set in, a report out."""

import time
from pathlib import Path

from riffusion.errors import InputError
from riffusion.training.dataset_folder import DatasetFolder
from riffusion.training.evaluation.clap import ClapEmbedder
from riffusion.training.evaluation.classifier_files import load_classifier
from riffusion.training.evaluation.drawing import Drawer, check_params
from riffusion.training.evaluation.parts import (
    Evaluation,
    measure_drawn_clips,
    measure_img2img,
    measure_interpolation,
    measure_vae,
    measure_with_clap,
    prepare_classifier,
)
from riffusion.training.evaluation.progress import Progress, silent
from riffusion.training.evaluation.prompts import held_out_wordings
from riffusion.training.evaluation.reference_clips import choose_labels, kinds_by_label, load_clips
from riffusion.training.evaluation.report import CheckpointFacts, DatasetFacts, Material, Report
from riffusion.training.evaluation.settings import PARTS_OF_DRAWN_CLIPS, EvaluationSettings


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
        The scores, and the pictures behind them.

    Raises:
        InputError: data set, classifier and checkpoint don't fit each other or the settings.
        CheckpointError: the checkpoint is damaged, or draws NaN.
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
    check_params(pipeline.spectrogram_params, folder.params)
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
    drawer = Drawer(pipeline, settings, held_out.size, progress)
    run = Evaluation(settings, drawer, held_out, train, judge, progress, report)
    for name, is_wanted, measure in (
        ("classifier", settings.needs_classifier, prepare_classifier),
        ("vae", "vae" in settings.parts, measure_vae),
        ("drawn clips", settings.needs_drawn_clips, measure_drawn_clips),
        ("img2img", "img2img" in settings.parts, measure_img2img),
        ("interpolation", "interpolation" in settings.parts, measure_interpolation),
    ):
        if is_wanted:
            begun = time.perf_counter()
            measure(run)
            report.timings_s[name] = time.perf_counter() - begun
    if embedder is not None:
        begun = time.perf_counter()
        measure_with_clap(run, embedder)
        report.timings_s["clap"] = time.perf_counter() - begun
    report.timings_s["all"] = time.perf_counter() - started
    return report, run.material
