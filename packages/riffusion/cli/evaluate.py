"""`riffusion evaluate`: score a checkpoint against held-out clips of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from riffusion.cli import options
from riffusion.cli.clip_requests import scheduler_field
from riffusion.cli.outputs import check_output_dir
from riffusion.cli.progress import progress_bar
from riffusion.errors import RiffusionError

if TYPE_CHECKING:
    from riffusion.datatypes import SchedulerName
    from riffusion.evaluation.settings import Part

ALL_PARTS = "listening,adherence,frechet,diversity,memorization,vae,img2img,interpolation"


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Checkpoint: a folder, a .safetensors or .ckpt file, or a Hugging Face id."
        ),
    ],
    *,
    dataset: Annotated[
        Path,
        typer.Option(help="Data-set folder with labels, such as one of `dataset synthesize`."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the report; created if it does not exist."),
    ] = Path("evaluation"),
    parts: Annotated[str, typer.Option(help="Parts to evaluate, separated by commas.")] = ALL_PARTS,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels to evaluate, separated by commas; default: all.", show_default=False
        ),
    ] = None,
    clips_per_label: Annotated[
        int, typer.Option(help="Number of clips to generate per label.")
    ] = 12,
    tagger: Annotated[
        str,
        typer.Option(
            help="Tagger that listens: magnatagatune, magnatagatune-vgg, million-song or "
            "million-song-vgg."
        ),
    ] = "magnatagatune",
    max_reference_clips: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of clips read per split, the same number for each label; "
            "default: all.",
            show_default=False,
        ),
    ] = None,
    classifier_steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps of the classifier; default: chosen by the number of clips.",
            show_default=False,
        ),
    ] = None,
    vae_clips_per_label: Annotated[
        int, typer.Option(help="Number of held-out clips per label for the VAE's score.")
    ] = 4,
    img2img_seeds: Annotated[
        int,
        typer.Option(
            help="Number of held-out clips to start img2img from, in addition to the seed images."
        ),
    ] = 8,
    interpolate_from: Annotated[
        str, typer.Option(help="Prompt at the start of the interpolations.")
    ] = "piano",
    interpolate_to: Annotated[
        str, typer.Option(help="Prompt at the end of the interpolations.")
    ] = "church bells",
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Use the classifier in this folder, which is part of another report, instead of "
            "training one.",
            show_default=False,
        ),
    ] = None,
    clap: Annotated[
        Path | None,
        typer.Option(
            help="Also measure the Fréchet distance with the CLAP model in this folder.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that remembers what the tagger hears in real clips; default: one in the "
            "user's cache folder.",
            show_default=False,
        ),
    ] = None,
    steps: options.Steps = options.DEFAULT_STEPS,
    scheduler: options.Scheduler = options.DEFAULT_SCHEDULER,
    guidance: options.Guidance = 7.0,
    guidance_interval: Annotated[
        tuple[float, float],
        typer.Option(
            help="Guidance applies from the first to the second share of the steps; 0 0.5 as in "
            "the presets `fast` and `balanced`."
        ),
    ] = (0.0, 1.0),
    batch_size: Annotated[int, typer.Option(help="Number of clips to generate together.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same scores.")] = 0,
    device: options.Device = None,
) -> None:
    """Score a checkpoint against held-out clips.

    What does a tagger that was trained on other music hear in its clips and in real ones, and how
    harmonic are melodies? Do clips match their prompts, and are they as diverse and as new as real
    clips? What does the VAE lose, what does img2img keep, and are interpolations between two
    prompts smooth? The result is report.md, a page with plots and contact sheets, and report.json
    with all numbers. `--parts listening --clips-per-label 8` is quick enough to choose between
    checkpoints.
    """
    from riffusion.evaluation.disk_cache import default_cache_dir
    from riffusion.evaluation.evaluate import evaluate as run_evaluation
    from riffusion.evaluation.report.files import PAGE_NAME, TABLE_NAME, write_report
    from riffusion.evaluation.report.plots import check_matplotlib
    from riffusion.evaluation.settings import EvaluationSettings

    settings = EvaluationSettings(
        parts=cast("tuple[Part, ...]", _names(parts)),
        labels=_names(labels or ""),
        clips_per_label=clips_per_label,
        tagger=tagger,
        max_reference_clips=max_reference_clips,
        classifier_steps=classifier_steps,
        vae_clips_per_label=vae_clips_per_label,
        img2img_seeds=img2img_seeds,
        interpolate_from=interpolate_from,
        interpolate_to=interpolate_to,
        steps=steps,
        guidance=guidance,
        guidance_interval=guidance_interval,
        scheduler=cast("SchedulerName | None", scheduler_field(scheduler)),
        batch_size=batch_size,
        seed=seed,
    )
    check_matplotlib()
    check_output_dir(output)
    if cache is not None:
        check_output_dir(cache)
    report, material = run_evaluation(
        checkpoint,
        dataset,
        settings,
        classifier=classifier,
        clap=clap,
        cache=cache or default_cache_dir(),
        device=device,
        progress=progress_bar,
    )
    write_report(report, material, output)
    print((output / TABLE_NAME).read_text(encoding="utf-8"))
    print(f"Wrote {output / PAGE_NAME} ({report.timings_s['all']:.0f} s)")
    if report.failures:
        raise RiffusionError(
            f"{len(report.failures)} of the parts failed, the report has the others: "
            + "; ".join(f"{name}: {reason}" for name, reason in report.failures.items())
        )


def _names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
