"""The training loop, the same for every recipe.

Everything random in step s is determined by the seed, s and the index of the process. A run that
is killed at any point and resumed from its last state therefore ends with the same weights as an
uninterrupted run.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors import SafetensorError

from riffusion.datasets.examples import Example, Examples
from riffusion.datasets.sampler import ResumableSampler, example_loader
from riffusion.errors import InputError, TrainingError
from riffusion.io.locks import sole_writer
from riffusion.training.config import TrainingConfig
from riffusion.training.ema import ExponentialMovingAverage
from riffusion.training.learning_rate import learning_rate_at
from riffusion.training.model_card import write_model_card
from riffusion.training.recipes.recipe import Losses, Recipe
from riffusion.training.state import TrainingStates
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
        self.ema: ExponentialMovingAverage | None = None

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
            with self.accelerator.main_process_first():  # the others find its encoded latents
                self.states.claim(self.config)
                if self.accelerator.is_main_process:  # it alone writes; the others share its lock
                    until_the_end.enter_context(sole_writer(self.config.output))
                examples = self._examples()
            return self._train(examples)

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
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        objective.train()
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        if self.config.run.ema_decay > 0:
            self.ema = ExponentialMovingAverage(self.parameters, self.config.run.ema_decay)
            self.states.ema = self.ema

    def _train_from(self, first: int, examples: Examples) -> None:
        """Run all steps from `first`, and log, validate, sample and save when due."""
        run = self.config.run
        batches = self._batches(examples, first)
        recent: list[dict[str, float]] = []
        for step in range(first, run.steps):
            recent.append(self._step(step, batches))
            done = step + 1
            if done % run.log_every == 0:
                rate = self.optimizer.param_groups[0]["lr"]
                self._log("train", done, _means(recent), learning_rate=rate)
                recent = []
            self._run_due(done)
            self.progress(done, run.steps)

    def _batches(self, examples: Examples, first_step: int) -> Iterator[Example]:
        accelerator, data = self.accelerator, self.config.data
        sampler = ResumableSampler(
            num_rows=len(examples),
            batch_size=data.batch_size,
            seed=self.config.run.seed,
            first_batch=first_step * data.accumulate,
            process=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        return iter(example_loader(examples, sampler, data.num_workers))

    def _step(self, step: int, batches: Iterator[Example]) -> dict[str, float]:
        """Run one optimizer step over `accumulate` batches; returns their mean losses."""
        accelerator, accumulate = self.accelerator, self.config.data.accumulate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.config.run.steps, self.config.optimizer)
        parts = []
        for part in range(accumulate):
            is_last = part == accumulate - 1
            batch = self._on_device(next(batches))
            seed = self._seed(step, part)
            torch.manual_seed(~seed)  # dropout layers use the global generator
            generator = torch.Generator().manual_seed(seed)
            # Processes exchange gradients once per step.
            with nullcontext() if is_last else accelerator.no_sync(self.objective):
                losses: Losses = self.objective(batch, generator)
                accelerator.backward(losses["loss"] / accumulate)
            parts.append(_numbers(losses))
        means = _means(parts)
        norm = accelerator.clip_grad_norm_(self.parameters, self.config.optimizer.max_grad_norm)
        self._check_finite(step, means["loss"], float(norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.parameters)
        return means

    def _on_device(self, batch: Example) -> Example:
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}  # type: ignore[return-value, attr-defined]

    def _seed(self, step: int, part: int) -> int:
        """Seed of all random numbers of one forward pass of this process."""
        index = (step * self.config.data.accumulate + part) * self.accelerator.num_processes
        seed = self.config.run.seed * 1_000_003 + index + self.accelerator.process_index
        return int(seed % 2**63)

    def _check_finite(self, step: int, loss: float, gradient_norm: float) -> None:
        """Stop every process before non-finite values reach the weights.

        Raises:
            TrainingError: the loss or the norm of its gradient is not finite.
        """
        losses = torch.tensor(loss, device=self.accelerator.device)
        loss = float(self.accelerator.reduce(losses, reduction="mean"))
        # The gradient scaler of fp16 skips non-finite gradients itself; a few occur at the start.
        if math.isfinite(loss) and (
            math.isfinite(gradient_norm) or self.accelerator.scaler is not None
        ):
            return
        raise TrainingError(
            f"loss={loss} and gradient_norm={gradient_norm} at step {step + 1} must be finite; the "
            f"state of step {self.states.latest_step()} is kept. Start again in a new output "
            f"folder with a lower optimizer.learning_rate={self.config.optimizer.learning_rate} or "
            "with run.mixed_precision=no"
        )

    def _run_due(self, done: int) -> None:
        """Sample, validate and save if due after `done` steps."""
        run = self.config.run
        is_end = done == run.steps
        is_early = done == max(1, run.sample_every // 10)
        if run.sample_every and (done % run.sample_every == 0 or is_early or is_end):
            self._sample(done)
        if run.validate_every and (done % run.validate_every == 0 or is_end):
            self._validate(done)
        if is_end or (run.save_every and done % run.save_every == 0):
            self.states.save(self.accelerator, done)

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
        sampler = ResumableSampler(len(self.held_out), self.config.data.batch_size, seed=0)
        batches = iter(example_loader(self.held_out, sampler))
        parts = []
        with self._ema_weights(), torch.inference_mode(), self.accelerator.autocast():
            for number in range(self.config.run.validation_batches):
                generator = torch.Generator().manual_seed(number)
                losses = self.recipe.objective(self._on_device(next(batches)), generator)
                parts.append(_numbers(losses))
        self._log("validation", step, _means(parts))

    def _sample(self, step: int) -> None:
        if self.accelerator.is_main_process:
            with self._ema_weights():
                self.tracker.log_samples(step, self.recipe.sample())

    @contextmanager
    def _ema_weights(self) -> Iterator[None]:
        """Put the networks into evaluation mode with their EMA weights, if EMA is on."""
        self.recipe.objective.eval()
        try:
            with nullcontext() if self.ema is None else self.ema.applied_to(self.parameters):
                yield
        finally:
            self.recipe.objective.train()

    def _finish(self) -> Path:
        """Write the result and its model card."""
        directory = self.config.output / "checkpoint"
        if self.accelerator.is_main_process:
            self.tracker.close()
            with self._ema_weights():
                self.recipe.export(directory)
                write_model_card(self.config, self.recipe, directory)
        self.accelerator.wait_for_everyone()
        return directory


def new_accelerator(config: TrainingConfig) -> Accelerator:
    """The accelerator of this process; it finds its device and the other launched processes itself.

    Raises:
        InputError: the device doesn't support `run.mixed_precision`.
    """
    precision = config.run.mixed_precision
    accelerator = Accelerator(
        mixed_precision=precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if precision == "fp16" and accelerator.device.type == "cpu":  # accelerate would ignore it
        raise InputError(
            "run.mixed_precision=fp16 needs a GPU, but training runs on the CPU; use bf16 or no"
        )
    return accelerator


def _numbers(losses: Losses) -> dict[str, float]:
    """Losses as numbers, without gradients."""
    values = torch.stack([value.detach().float() for value in losses.values()])
    return dict(zip(losses, values.tolist(), strict=True))  # waits for a GPU once, not per loss


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over at least one part."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
