"""The training loop, the same for every recipe.

Everything random in step s is determined by the seed, s and the index of the process. A run that
is killed at any point and resumed from its last state therefore ends with the same weights as an
uninterrupted run.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from safetensors import SafetensorError

from riffusion.datasets.device_split import DeviceFeed
from riffusion.datasets.examples import Example, Examples
from riffusion.datasets.order import batches_of
from riffusion.errors import InputError, TrainingError
from riffusion.io.locks import owner_of, sole_writer
from riffusion.runtime.devices import fast_single_precision, seeded_generator
from riffusion.training.config import TrainingConfig
from riffusion.training.ema import ExponentialMovingAverage
from riffusion.training.learning_rate import learning_rate_at
from riffusion.training.model_card import write_model_card
from riffusion.training.recipes import recipe_for
from riffusion.training.recipes.recipe import Losses, Recipe
from riffusion.training.sharded_weights import (
    check_sharded_run,
    is_sharded_run,
    load_whole_weights,
    whole_weights,
)
from riffusion.training.state import TrainingStates
from riffusion.training.step_losses import StepLosses, mean_losses
from riffusion.training.tracking import RunTracker

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class Trainer:
    """Trains the networks of a recipe.

    Args:
        config: the configuration of the run.
        recipe: the recipe of that configuration.
        accelerator: the accelerator of this process.
        progress: called after each step.
    """

    def __init__(
        self,
        config: TrainingConfig,
        recipe: Recipe,
        accelerator: Accelerator,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self.config = config
        self.recipe = recipe
        self.progress = progress
        self.accelerator = accelerator
        self.states = TrainingStates(config.output, config.run.keep_states)
        self.held_out: Examples | None = None
        self.held_out_feed: DeviceFeed | None = None
        self.ema: ExponentialMovingAverage | None = None
        self.losses = StepLosses(accelerator)

    def train(self) -> Path:
        """Train to the end, from the last state if there is one.

        Returns:
            The folder of the result, `OUTPUT/checkpoint`.

        Raises:
            InputError: the output folder holds something else or is in use by another run, or the
                data doesn't fit.
            TrainingError: the loss or its gradient is not finite, or something can't be written.
        """
        with ExitStack() as until_the_end:
            until_the_end.enter_context(fast_single_precision(self.accelerator.device))
            with self.accelerator.main_process_first():  # the others find its encoded latents
                self.states.claim(self.config, self.recipe.folder.fingerprint)
                if self.accelerator.is_main_process:  # it alone writes; the others share its lock
                    until_the_end.enter_context(sole_writer(self.config.output))
                examples = self._examples()
            self._check_output_is_shared()
            return self._train(examples)

    def _check_output_is_shared(self) -> None:
        """Check that all processes see the same folder, those on other machines, too.

        Raises:
            InputError: they don't. It is raised in all of them, so that none waits for the others.
        """
        if self.accelerator.num_processes == 1:
            return
        own = (self.states.latest_step(), owner_of(self.config.output))
        seen = gather_object([own])
        if any(each != seen[0] for each in seen):
            raise InputError(
                f"output={str(self.config.output)!r} is another folder on each machine; choose one "
                "on a file system that all of them share"
            )

    def _examples(self) -> Examples:
        """Examples to train on; those held out are kept in `held_out`."""
        cache = self.config.output / "cache"
        examples = self.recipe.examples("train", cache)
        if self.recipe.folder.rows("validation"):
            self.held_out = self.recipe.examples("validation", cache)
        return examples

    def _train(self, examples: Examples) -> Path:
        """Train to the end in a folder that this run has locked."""
        accelerator = self.accelerator
        self._prepare()
        first = self.states.latest_step()
        if first > 0:
            self.states.load(accelerator, first)
            logger.info("resuming from step %d", first)
        try:
            if accelerator.is_main_process:
                self.tracker = RunTracker(self.config.output, self.recipe.params, first)
            self._train_from(first, examples)
            return self._finish()
        except (OSError, SafetensorError) as error:
            raise self.states.write_error("samples, curves or the checkpoint", error) from error

    def _prepare(self) -> None:
        """Set up optimizer, accelerator and EMA."""
        accelerator, options = self.accelerator, self.config.optimizer
        objective = self.recipe.objective
        if self.config.run.gradient_checkpointing:
            objective.enable_gradient_checkpointing()
        if self.config.run.compile:
            objective.compile_networks()
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
            fused=accelerator.device.type == "cuda" or None,  # one kernel instead of a dozen
        )
        objective.train()
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        # FSDP replaces them by parts of them.
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        if self.config.run.ema_decay > 0:
            self.ema = ExponentialMovingAverage(self.parameters, self.config.run.ema_decay)
            self.states.ema = self.ema

    def _train_from(self, first: int, examples: Examples) -> None:
        """Run all steps from `first`, and log, validate, sample and save when due."""
        run = self.config.run
        batches = self._batches(examples, first)
        for step in range(first, run.steps):
            self._step(step, batches)
            done = step + 1
            if done % run.log_every == 0:
                self._check_finite()
                rate = self.optimizer.param_groups[0]["lr"]
                self._log("train", done, self.losses.means(), learning_rate=rate)
            self._run_due(done)
            self.progress(done, run.steps)

    def _batches(self, examples: Examples, first_step: int) -> Iterator[Example]:
        accelerator, data = self.accelerator, self.config.data
        self.feed = DeviceFeed(examples, accelerator.device, data.keep_in_memory)
        return batches_of(
            examples,
            "train",
            data,
            seed=self.config.run.seed,
            first_batch=first_step * data.accumulate,
            process=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )

    def _step(self, step: int, batches: Iterator[Example]) -> None:
        """Run one optimizer step over `accumulate` batches, without waiting for a GPU."""
        accelerator, accumulate = self.accelerator, self.config.data.accumulate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.config.run.steps, self.config.optimizer)
        self.recipe.objective.share_done = step / self.config.run.steps
        parts: list[Losses] = []
        for part in range(accumulate):
            is_last = part == accumulate - 1
            batch = self.feed(next(batches))
            seed = self._seed(step, part)
            torch.manual_seed(~seed)  # dropout layers use the global generator
            generator = seeded_generator(accelerator.device, seed)
            # Processes exchange gradients once per step.
            with nullcontext() if is_last else accelerator.no_sync(self.objective):
                losses: Losses = self.objective(batch, generator)
                accelerator.backward(losses["loss"] / accumulate)
            parts.append(losses)
        norm = accelerator.clip_grad_norm_(self.parameters, self.config.optimizer.max_grad_norm)
        self.losses.add(step + 1, parts, norm)
        if self.losses.is_full:
            self._check_finite()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.recipe.objective.after_step()
        if self.ema is not None:
            self.ema.step(self.parameters)

    def _seed(self, step: int, part: int) -> int:
        """Seed of all random numbers of one forward pass of this process."""
        index = (step * self.config.data.accumulate + part) * self.accelerator.num_processes
        seed = self.config.run.seed * 1_000_003 + index + self.accelerator.process_index
        return int(seed % 2**63)

    def _check_finite(self) -> None:
        """Stop every process if a loss isn't finite. Called before weights are used or written.

        Raises:
            TrainingError: the loss of a step or the norm of its gradient is not finite.
        """
        found = self.losses.check()
        if found is None:
            return
        raise TrainingError(
            f"loss={found.loss} and gradient_norm={found.gradient_norm} at step {found.step} must "
            f"be finite; the state of step {self.states.latest_step()} is kept. Start again in a "
            "new output folder with a lower "
            f"optimizer.learning_rate={self.config.optimizer.learning_rate} or with "
            "run.mixed_precision=no"
        )

    def _run_due(self, done: int) -> None:
        """Sample, validate, save and export if due after `done` steps."""
        run = self.config.run
        is_end = done == run.steps

        def is_due(every: int) -> bool:
            return every > 0 and (done % every == 0 or is_end)

        is_early = run.sample_every > 0 and done == max(1, run.sample_every // 10)
        saves = is_due(run.save_every) or is_end
        exports = is_due(run.export_every) and not is_end  # at the end it is exported anyway
        validates = is_due(run.validate_every)
        samples = is_due(run.sample_every) or is_early
        if saves or exports or validates or samples:
            self._check_finite()
        if samples:
            self._sample(done)
        if validates:
            self._validate(done)
        if saves:
            self.states.save(self.accelerator, done)
        if exports:
            self._export()

    def _log(self, kind: str, step: int, losses: dict[str, float], **others: float) -> None:
        if self.accelerator.is_main_process:
            scalars = {f"{kind}/{name}": value for name, value in losses.items()}
            self.tracker.log_scalars(step, scalars | others)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            logger.info("step %d, %s: %s", step, kind, shown)

    def _validate(self, step: int) -> None:
        """Log the losses on held-out batches: the same batches and the same noise each time."""
        if self.held_out is None or not self.accelerator.is_main_process:
            return
        device, data = self.accelerator.device, self.config.data
        if self.held_out_feed is None:
            self.held_out_feed = DeviceFeed(self.held_out, device, data.keep_in_memory)
        batches = batches_of(self.held_out, "validation", data, seed=0)
        parts: list[Losses] = []
        with self._ema_weights(), torch.inference_mode(), self.accelerator.autocast():
            for number in range(self.config.run.validation_batches):
                generator = seeded_generator(device, number)
                parts.append(self.recipe.objective(self.held_out_feed(next(batches)), generator))
            means = mean_losses(parts)
        self._log("validation", step, means)

    def _sample(self, step: int) -> None:
        if self.accelerator.is_main_process:
            with self._ema_weights():
                self.tracker.log_samples(step, self.recipe.sample())

    @contextmanager
    def _ema_weights(self) -> Iterator[None]:
        """Put the networks into evaluation mode with their EMA weights, if EMA is on."""
        self.recipe.objective.eval()
        try:
            # Each other size of batches and images would have to be compiled, too.
            compiles = self.config.run.compile
            with (
                torch.compiler.set_stance("force_eager") if compiles else nullcontext(),
                nullcontext() if self.ema is None else self.ema.applied_to(self.parameters),
            ):
                yield
        finally:
            self.recipe.objective.train()

    def _finish(self) -> Path:
        """Write the result and its model card."""
        if self.accelerator.is_main_process:
            self.tracker.close()
        return self._export()

    def _export(self) -> Path:
        """Write the checkpoint of the present weights; an earlier one is replaced."""
        directory = self.config.output / "checkpoint"
        is_main, is_sharded = self.accelerator.is_main_process, is_sharded_run(self.accelerator)
        whole = whole_weights(self.recipe.objective, keep=is_main) if is_sharded else {}
        if is_main:
            recipe = self.recipe
            if is_sharded:
                recipe = recipe_for(self.config)
                load_whole_weights(recipe.objective, whole)
            with self._ema_weights():
                recipe.export(directory)
                write_model_card(self.config, recipe, directory)
        self.accelerator.wait_for_everyone()
        return directory


def new_accelerator(config: TrainingConfig) -> Accelerator:
    """The accelerator of this process; it finds its device and the other launched processes itself.

    Raises:
        InputError: the device doesn't support `run.mixed_precision` or `run.compile`, or the run
            does something that sharded weights can't.
    """
    precision = config.run.mixed_precision
    accelerator = Accelerator(
        mixed_precision=precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if is_sharded_run(accelerator):
        check_sharded_run(config, accelerator.state.fsdp_plugin.fsdp_version)
    if precision == "fp16" and accelerator.device.type == "cpu":  # accelerate would ignore it
        raise InputError(
            "run.mixed_precision=fp16 needs a GPU, but training runs on the CPU; use bf16 or no"
        )
    if config.run.compile and accelerator.device.type != "cuda":
        raise InputError(
            f"run.compile=true needs a CUDA GPU, but training runs on {accelerator.device.type}; "
            "leave it out"
        )
    return accelerator
