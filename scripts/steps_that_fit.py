"""Measures a training step on this machine, and prints how many steps of a run take some time.

    python scripts/steps_that_fit.py --seconds 1300 CONFIG [--set section.key=value]…

The run's first 60 steps are done in build/measured, and deleted. Prints `run.steps` of CONFIG if
all of them fit. A part of the time is left for starting, samples, validation and saving.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import torch

from riffusion.errors import RiffusionError
from riffusion.training.config import TrainingConfig, load_config
from riffusion.training.recipes import recipe_for
from riffusion.training.trainer import Trainer, new_accelerator

OUTPUT = Path("build/measured")
FIRST, LAST = 20, 60
"""The first steps choose kernels and start the loader's processes, so they aren't measured."""
TRAINING_SHARE = 0.85


class _EnoughError(Exception):
    """Ends the measured run."""


def seconds_per_step(config: TrainingConfig) -> float:
    """Seconds of a training step, on the device that the run would use."""
    times: list[float] = []

    def look(done: int, total: int) -> None:
        if done in (min(FIRST, total - 1), min(LAST, total)):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter())
        if done == min(LAST, total):
            raise _EnoughError

    torch.manual_seed(config.run.seed)
    trainer = Trainer(config, recipe_for(config), new_accelerator(config), look)
    try:
        trainer.train()
    except _EnoughError:
        trainer.tracker.close()  # it writes in a thread of its own
    finally:
        shutil.rmtree(OUTPUT, ignore_errors=True)
    num_steps = min(LAST, config.run.steps) - min(FIRST, config.run.steps - 1)
    return (times[1] - times[0]) / num_steps


def steps_that_fit(seconds: float, step_s: float, config: TrainingConfig) -> int:
    """Number of steps that fit, more than those of the warm-up and at most `run.steps`."""
    fitting = int(TRAINING_SHARE * seconds / step_s)
    return min(config.run.steps, max(config.optimizer.warmup_steps + 1, fitting))


def main() -> None:
    """Print the number of steps; what was measured goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    quiet = [f"run.{name}_every=0" for name in ("validate", "sample", "save", "export")]
    try:
        config = load_config(options.config, [*options.overrides, f"output={OUTPUT}", *quiet])
        step_s = seconds_per_step(config)
    except RiffusionError as error:
        sys.exit(f"error: {error}")
    steps = steps_that_fit(options.seconds, step_s, config)
    print(
        f"a step takes {1e3 * step_s:.1f} ms: {steps} of {config.run.steps} steps fit into "
        f"{options.seconds:g} s",
        file=sys.stderr,
    )
    print(steps)


if __name__ == "__main__":
    main()
