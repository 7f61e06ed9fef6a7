"""Training on an emulated CUDA device: how often the CPU waits for it, and that it trains alike.

Gradients are a stand-in, since autograd's threads need a real device.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from riffusion.errors import TrainingError
from riffusion.training.config import load_config
from riffusion.training.recipes import recipe_for
from riffusion.training.trainer import Trainer, new_accelerator
from tests.datasets.packed import base, config_of, dataset, packed
from tests.runtime import emulated_cuda
from tests.runtime.emulated_cuda import Device
from tests.training.recipe_runs import write_config
from tests.training.trainer_runs import autoencoder_config

__all__ = ["base", "dataset", "packed"]  # fixtures

STEPS, LOG_EVERY = 7, 4
MAX_WAITS_PER_LOG = 1
MAX_WEIGHT_ERROR = 1e-5
"""Relative to the largest weight; float32 sums in another order, over some steps."""
Progress = Callable[[int, int], None]
TASKS = ("text_to_spectrogram", "unconditional", "fine_tune", "autoencoder", "distill")


@pytest.fixture
def cuda() -> Iterator[Device]:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch) as device:
        yield device


def new_trainer(
    config: dict[str, Any],
    folder: Path,
    progress: Progress = lambda done, total: None,
    nan_at_step: int | None = None,
) -> Trainer:
    """A trainer whose gradients are a tenth of the weights, or NaN in one step."""
    options = load_config(write_config(config, folder / "config.yaml"))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = new_accelerator(options)
    torch.manual_seed(options.run.seed)
    trainer = Trainer(options, recipe_for(options), accelerator, progress)
    calls = itertools.count()

    def backward(loss: torch.Tensor) -> None:
        assert loss.device.type == accelerator.device.type
        step = next(calls) // options.data.accumulate + 1
        for parameter in trainer.parameters:
            factor = float("nan") if step == nan_at_step else 0.1
            parameter.grad = parameter.detach() * factor

    accelerator.backward = backward  # type: ignore[method-assign]
    if accelerator.device.type == "cuda":  # whose tensors have no memory that could be written

        def save(_: object, step: int) -> None:
            (trainer.states.output / f"states/step-{step:08}").mkdir(parents=True)

        trainer.states.save = save  # type: ignore[method-assign]
        trainer._finish = lambda: trainer.states.output  # type: ignore[method-assign]
    return trainer


def run_config(task: str, base: Path, packed: Path, dataset: Path, output: Path) -> dict[str, Any]:
    if task == "autoencoder":
        config = autoencoder_config(dataset, output)
    else:
        config = config_of(task, base, packed, output)
    config["data"]["accumulate"] = 1 if task in ("distill", "fine_tune") else 2
    config["run"] = {
        "steps": STEPS,
        "log_every": LOG_EVERY,
        "ema_decay": 0.9,
        "validate_every": 0,
        "sample_every": 0,
        "save_every": 0,
    }
    return config


@pytest.mark.parametrize("task", TASKS)
def test_steps_wait_for_the_gpu_only_to_log(
    task: str, base: Path, packed: Path, dataset: Path, tmp_path: Path, cuda: Device
) -> None:
    waits: list[int] = []

    def count(done: int, total: int) -> None:
        waits.append(cuda.num_waits)
        cuda.waits.clear() if done < STEPS else None

    trainer = new_trainer(
        run_config(task, base, packed, dataset, tmp_path / "run"), tmp_path, count
    )
    trainer.train()
    assert trainer.ema is not None and trainer.ema.foreach
    assert len(waits) == STEPS
    assert waits[0] > 0  # the networks were copied to the device
    for done in range(2, STEPS):  # the last step saves the state
        allowed = MAX_WAITS_PER_LOG if done % LOG_EVERY == 0 else 0
        assert waits[done - 1] <= allowed, (done, waits)


def test_training_gives_the_weights_of_a_cpu(
    base: Path, packed: Path, dataset: Path, tmp_path: Path
) -> None:
    config = run_config("text_to_spectrogram", base, packed, dataset, tmp_path / "cpu")
    on_cpu = new_trainer(config, tmp_path)
    on_cpu.train()
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        on_cuda = new_trainer(config | {"output": str(tmp_path / "cuda")}, tmp_path)
        on_cuda.train()
        actual = [parameter.detach().cpu() for parameter in on_cuda.parameters]
        assert on_cuda.ema is not None and on_cpu.ema is not None
        averages = [average.cpu() for average in on_cuda.ema.shadow_params]
    for one, other in zip(
        [*actual, *averages], [*on_cpu.parameters, *on_cpu.ema.shadow_params], strict=True
    ):
        scale = other.detach().abs().max().clamp(min=1e-3)
        assert (one - other.detach()).abs().max() <= MAX_WEIGHT_ERROR * scale


@pytest.mark.parametrize(("nan_at_step", "kept"), [(3, 2), (5, 4), (6, 4), (7, 6)])
def test_numbers_that_are_not_finite_are_found_before_a_state_is_written(
    base: Path,
    packed: Path,
    dataset: Path,
    tmp_path: Path,
    cuda: Device,
    nan_at_step: int,
    kept: int,
) -> None:
    config = run_config("unconditional", base, packed, dataset, tmp_path / "run")
    config["run"]["save_every"] = 2
    trainer = new_trainer(config, tmp_path, nan_at_step=nan_at_step)
    expected = rf"gradient_norm=nan at step {nan_at_step} must .* state of step {kept} is kept"
    with pytest.raises(TrainingError, match=expected):
        trainer.train()
    assert trainer.states.latest_step() == kept


def test_single_precision_is_tf32_on_cuda_and_during_training_alone(
    base: Path, packed: Path, dataset: Path, tmp_path: Path
) -> None:
    before = torch.get_float32_matmul_precision()
    found = []

    def look(done: int, total: int) -> None:
        found.append(torch.get_float32_matmul_precision())

    config = run_config("unconditional", base, packed, dataset, tmp_path / "cpu")
    config["run"]["steps"] = 2
    new_trainer(config, tmp_path, look).train()
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        new_trainer(config | {"output": str(tmp_path / "cuda")}, tmp_path, look).train()
    assert found == [before, before, "high", "high"]
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_the_checkpoint_is_written_during_the_run_and_changes_nothing(
    base: Path, packed: Path, dataset: Path, tmp_path: Path
) -> None:
    """On a CPU. So do the networks in training stay the same, even if the result is scaled."""
    written: list[int] = []

    def look(done: int, total: int) -> None:
        written.append(len(list((tmp_path / "exporting/checkpoint").rglob("*.safetensors"))))

    weights = []
    for name, every in (("exporting", 3), ("not", 0)):
        config = autoencoder_config(dataset, tmp_path / name, ema_decay=0.0)
        config["run"] |= {"steps": 7, "export_every": every}
        trainer = new_trainer(config, tmp_path, look)
        trainer.train()
        weights.append([parameter.detach() for parameter in trainer.parameters])
        assert (tmp_path / name / "checkpoint/README.md").is_file()
    assert [count > 0 for count in written[:7]] == [False, False, True, True, True, True, True]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
