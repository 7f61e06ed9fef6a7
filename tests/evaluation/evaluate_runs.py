"""Runs of `riffusion evaluate` with small images and few steps."""

import typer

from riffusion.cli.app import run
from riffusion.cli.evaluate import evaluate
from riffusion.evaluation.settings import EvaluationSettings

CLIPS_PER_LABEL = 2
QUICK = ("--steps", 2, "--clips-per-label", CLIPS_PER_LABEL, "--img2img-seeds", 2)
SETTINGS = EvaluationSettings(
    steps=2,
    clips_per_label=CLIPS_PER_LABEL,
    img2img_seeds=2,
    interpolation_paths=2,
    interpolation_steps=4,
)
"""The same as QUICK, with fewer interpolations."""


def command(*arguments: object) -> int:
    application = typer.Typer()
    application.command()(evaluate)
    return run(application, [str(argument) for argument in arguments], "riffusion")
