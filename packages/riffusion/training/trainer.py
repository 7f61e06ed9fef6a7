"""The training loop, one for every recipe.

Everything random in step s follows from the seed, s and the process's number. So a run that was
ended anywhere, and goes on from its last state, is the run that was never ended.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel

from riffusion.errors import TrainingError
from riffusion.training.config import OptimizerConfig, TrainingConfig
from riffusion.training.examples import Example, ExampleOrder, example_loader
from riffusion.training.model_card import write_model_card
from riffusion.training.recipes.recipe import Losses, Recipe
from riffusion.training.tracking import RunTracker
from riffusion.training.training_state import TrainingStates

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class Trainer:
    """Trains what a recipe provides.

    Args:
        config: of the run.
        recipe: made from it.
        accelerator: of this process.
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

    def train(self) -> Path:
        """Train from the last state, or from the beginning, to the end.

        Returns:
            The folder with the result, `OUTPUT/checkpoint`.

        Raises:
            InputError: the output folder holds something else, or the data doesn't fit.
            TrainingError: the loss is no longer a number, or a state can't be written.
        """
        accelerator, run = self.accelerator, self.config.run
        with accelerator.main_process_first():
            self.states.claim(self.config)
            cache = self.config.output / "cache"
            examples = self.recipe.examples("train", cache)
            self._has_validation = bool(self.recipe.folder.rows("validation"))
            self._held_out = (
                self.recipe.examples("validation", cache) if self._has_validation else None
            )
        self._prepare()
        first = self.states.latest_step()
        if first > 0:
            self.states.load(accelerator, first)
            logger.info("going on from step %d", first)
        if accelerator.is_main_process:
            self.tracker = RunTracker(self.config.output, self.recipe.folder.params, first)
        batches = self._batches(examples, first)
        averages: dict[str, float] = {}
        for step in range(first, run.steps):
            self._set_learning_rate(step)
            losses = self._step(step, batches)
            for name, value in losses.items():
                averages[name] = averages.get(name, 0.0) + value / run.log_every
            done = step + 1
            if done % run.log_every == 0:
                self._log_averages(done, averages)
                averages = {}
            self._run_due(done)
            self.progress(done, run.steps)
        return self._finish()

    def _prepare(self) -> None:
        """Wrap the networks, the optimizer and the averaged weights."""
        accelerator, options = self.accelerator, self.config.optimizer
        objective = self.recipe.objective
        if self.config.run.gradient_checkpointing:
            objective.enable_gradient_checkpointing()
        parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters,
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        objective.train()
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.parameters = parameters
        self.average: EMAModel | None = None
        if self.config.run.ema_decay > 0:
            self.average = EMAModel(
                parameters, decay=self.config.run.ema_decay, use_ema_warmup=True, power=0.75
            )
            self.average.to(accelerator.device)
            accelerator.register_for_checkpointing(self.average)

    def _batches(self, examples: object, first_step: int) -> Iterator[Example]:
        accelerator, data = self.accelerator, self.config.data
        order = ExampleOrder(
            num_rows=len(examples),  # type: ignore[arg-type]
            batch_size=data.batch_size,
            seed=self.config.run.seed,
            first_batch=first_step * data.accumulate,
            process=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        return iter(example_loader(examples, order, data.num_workers))  # type: ignore[arg-type]

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate_at(step, self.config.run.steps, self.config.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, step: int, batches: Iterator[Example]) -> dict[str, float]:
        """One optimizer step over `accumulate` batches; returns their mean losses."""
        accelerator, accumulate = self.accelerator, self.config.data.accumulate
        totals: dict[str, float] = {}
        for part in range(accumulate):
            batch = self._on_device(next(batches))
            generator = self._generator(step, part)
            is_last = part == accumulate - 1
            with _gradients_shared(accelerator, self.objective, is_last):
                losses: Losses = self.objective(batch, generator)
                accelerator.backward(losses["loss"] / accumulate)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / accumulate
        self._check_finite(step, totals["loss"])
        accelerator.clip_grad_norm_(self.parameters, self.config.optimizer.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.step(self.parameters)
        return totals

    def _on_device(self, batch: Example) -> Example:
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}  # type: ignore[return-value, attr-defined]

    def _generator(self, step: int, part: int) -> torch.Generator:
        """Random numbers of one forward pass."""
        place = (step * self.config.data.accumulate + part) * self.accelerator.num_processes
        seed = (self.config.run.seed * 1_000_003 + place + self.accelerator.process_index) % 2**63
        return torch.Generator().manual_seed(seed)

    def _check_finite(self, step: int, loss: float) -> None:
        """Stop every process if the loss of one is not a number.

        Raises:
            TrainingError: so it is.
        """
        broken = torch.tensor(0.0 if math.isfinite(loss) else 1.0, device=self.accelerator.device)
        if float(self.accelerator.reduce(broken)) == 0:
            return
        raise TrainingError(
            f"loss={loss} at step {step + 1} must be finite; the state of step "
            f"{self.states.latest_step()} is kept. Lower "
            f"optimizer.learning_rate={self.config.optimizer.learning_rate}, or use "
            "run.mixed_precision=no, in a new output folder"
        )

    def _run_due(self, done: int) -> None:
        """Validate, sample and save when it is time."""
        run = self.config.run
        is_end = done == run.steps
        if run.sample_every and (
            _is_due(done, run.sample_every) or is_end or done == max(1, run.sample_every // 10)
        ):
            self._sample(done)
        if (
            run.validate_every
            and self._held_out is not None
            and (_is_due(done, run.validate_every) or is_end)
        ):
            self._validate(done)
        if is_end or _is_due(done, run.save_every):
            self.states.save(self.accelerator, done)

    def _log_averages(self, step: int, averages: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            rate = self.optimizer.param_groups[0]["lr"]
            scalars = {f"train/{name}": value for name, value in averages.items()}
            self.tracker.log_scalars(step, {**scalars, "learning_rate": rate})
            shown = ", ".join(f"{name} {value:.4g}" for name, value in averages.items())
            logger.info("step %d: %s", step, shown)

    def _validate(self, step: int) -> None:
        """Losses on the same held-out batches with the same noise each time."""
        if not self.accelerator.is_main_process:
            return
        assert self._held_out is not None
        data = self.config.data
        order = ExampleOrder(len(self._held_out), data.batch_size, seed=0)  # type: ignore[arg-type]
        batches = iter(example_loader(self._held_out, order))  # type: ignore[arg-type]
        totals: dict[str, float] = {}
        count = self.config.run.validation_batches
        with self._averaged_weights(), torch.inference_mode(), self.accelerator.autocast():
            for number in range(count):
                generator = torch.Generator().manual_seed(number)
                losses = self.recipe.objective(self._on_device(next(batches)), generator)
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0.0) + float(value) / count
        self.tracker.log_scalars(step, {f"validation/{name}": v for name, v in totals.items()})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in totals.items())
        logger.info("step %d, validation: %s", step, shown)

    def _sample(self, step: int) -> None:
        if self.accelerator.is_main_process:
            with self._averaged_weights():
                self.tracker.log_samples(step, self.recipe.sample())

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The averaged weights in the networks' place, in evaluation mode."""
        self.recipe.objective.eval()
        if self.average is not None:
            self.average.store(self.parameters)
            self.average.copy_to(self.parameters)
        try:
            yield
        finally:
            if self.average is not None:
                self.average.restore(self.parameters)
            self.recipe.objective.train()

    def _finish(self) -> Path:
        """Write the result with its card."""
        directory = self.config.output / "checkpoint"
        if self.accelerator.is_main_process:
            self.tracker.close()
            with self._averaged_weights():
                self.recipe.export(directory)
                write_model_card(self.config, self.recipe, directory)
        self.accelerator.wait_for_everyone()
        return directory


def new_accelerator(config: TrainingConfig) -> Accelerator:
    """The accelerator of this process, on its device, among as many as were launched."""
    return Accelerator(
        mixed_precision=config.run.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def learning_rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of a step, counted from 0: linear up, flat, then along a cosine towards 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    flat_until = max(config.warmup_steps, round(config.flat_share * steps))
    if step < flat_until:
        return config.learning_rate
    position = (step - flat_until) / max(1, steps - flat_until)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * position))


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


@contextmanager
def _gradients_shared(
    accelerator: Accelerator, objective: torch.nn.Module, is_last: bool
) -> Iterator[None]:
    """Processes exchange gradients in the last pass of a step only."""
    if is_last:
        yield
    else:
        with accelerator.no_sync(objective):
            yield
