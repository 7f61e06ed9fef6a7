"""The training loop: it learns, it resumes exactly, and it keeps its states."""

import itertools
import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from riffusion.cli.app import main
from riffusion.cli.train import train as train_command
from riffusion.datasets.examples import Example
from riffusion.errors import InputError, TrainingError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.config import OptimizerConfig, load_config
from riffusion.training.ema import ExponentialMovingAverage
from riffusion.training.learning_rate import learning_rate_at
from riffusion.training.recipes import recipe_for
from riffusion.training.recipes.autoencoder import AutoencoderObjective
from riffusion.training.trainer import Trainer, new_accelerator
from tests.datasets.striped_dataset import SIDE, make_striped_dataset
from tests.patience import PATIENCE_S

STEPS = 12
SAVE_EVERY = 3
LARGEST_FILE_BYTES = 4096
"""File size limit that stands for a full disk: below any network, above a test's output."""
"""Ends a process that hangs."""
PROCESSES = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
"""A forked process needn't import torch again, which takes most of a test's time. With a GPU, torch
doesn't allow forking."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes")


PROCESSES_TOLERANCE = 1e-4
"""Relative difference of weights: gradients are summed in another order, which Adam amplifies for
small gradients."""


def autoencoder_config(dataset: Path, output: Path, **run: Any) -> dict[str, Any]:
    return {
        "task": "autoencoder",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 4, "crop_width": 16, "circular_shifts": 2},
        "autoencoder": {
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [8, 8],
            "norm_num_groups": 4,
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "mid_block_add_attention": False,
        },
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 2},
        "run": {
            "steps": STEPS,
            "log_every": 2,
            "save_every": SAVE_EVERY,
            "validate_every": 6,
            "sample_every": 6,
            "validation_batches": 2,
            **run,
        },
    }


def write_config(config: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def forget_accelerator() -> None:
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def new_trainer(config: dict[str, Any], folder: Path, **options: Any) -> Trainer:
    run = load_config(write_config(config, folder / "config.yaml"))
    forget_accelerator()
    accelerator = new_accelerator(run)
    torch.manual_seed(run.run.seed)
    return Trainer(run, recipe_for(run), accelerator, **options)


def train(config: dict[str, Any], folder: Path) -> Path:
    """Train in this process."""
    return new_trainer(config, folder).train()


def start(config: Path, prepare: Callable[[], None], **environment: str) -> BaseProcess:
    """Start `riffusion train` in another process, which calls `prepare` first."""
    process = PROCESSES.Process(target=run_command, args=(config, prepare, environment))
    process.start()
    return process


def run_command(config: Path, prepare: Callable[[], None], environment: dict[str, str]) -> None:
    os.environ.update(environment | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    forget_accelerator()
    prepare()
    sys.exit(main(["train", str(config)]))


def die_after_step(last: int) -> None:
    """Make the trainer kill its process after a step, before it saves a state."""
    step = Trainer._step

    def step_or_die(self: Trainer, number: int, batches: Any) -> dict[str, float]:
        losses = step(self, number, batches)
        if number + 1 == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses

    Trainer._step = step_or_die  # type: ignore[method-assign]


def remove_noise() -> None:
    """Set the posterior's noise to 0, which depends on the number of processes."""
    forward = AutoencoderObjective.forward

    def forward_without_noise(
        self: AutoencoderObjective, batch: Example, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        with patch.object(torch, "randn", lambda shape, generator: torch.zeros(shape)):
            return forward(self, batch, generator)

    AutoencoderObjective.forward = forward_without_noise  # type: ignore[method-assign]


def exit_code(process: BaseProcess) -> int | None:
    """Wait until a process ends, or kill it."""
    process.join(PATIENCE_S)
    process.kill()
    process.join()
    return process.exitcode


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def weights_of(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoint/vae/diffusion_pytorch_model.safetensors")


def test_training_lowers_the_error_and_leaves_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=60, ema_decay=0.0)
    folder = train(config, tmp_path)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    recipe = recipe_for(load_config(tmp_path / "config.yaml"))
    pixels = recipe.examples("validation", tmp_path)[0, 0]["pixels"][None]
    with torch.inference_mode():
        rebuilt = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    spread = (pixels - pixels.mean()).abs().mean()
    assert (rebuilt - pixels).abs().mean() < 0.7 * spread
    assert "24 training and 24 validation images" in (folder / "README.md").read_text()
    assert SpectrogramParams.load(folder).num_frequencies == SIDE


def test_latents_have_zero_mean_and_at_most_unit_deviation(dataset: Path, tmp_path: Path) -> None:
    folder = train(autoencoder_config(dataset, tmp_path / "run", steps=30), tmp_path)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    recipe = recipe_for(load_config(tmp_path / "config.yaml"))
    examples = recipe.examples("train", tmp_path)
    pixels = torch.stack([recipe_pixels(examples, row) for row in range(len(examples))])
    with torch.inference_mode():
        latents = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    deviations = latents.std(dim=(0, 2, 3))
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.05
    assert deviations.max() == pytest.approx(1.0, abs=0.05)


def recipe_pixels(examples: Any, row: int) -> torch.Tensor:
    from riffusion.datasets.examples import pixels_from_bytes

    return pixels_from_bytes(torch.from_numpy(examples.pixels(row).copy()))


@pytest.mark.parametrize("kill_at", [SAVE_EVERY + 1, 3 * SAVE_EVERY])
def test_a_killed_run_resumes_to_the_same_weights(
    dataset: Path, tmp_path: Path, kill_at: int
) -> None:
    """Killed after a step beyond its last state, or before the state of the step is saved."""
    train(autoencoder_config(dataset, tmp_path / "whole"), tmp_path)
    config = autoencoder_config(dataset, tmp_path / "broken")
    path = write_config(config, tmp_path / "broken.yaml")
    assert exit_code(start(path, partial(die_after_step, kill_at))) == -signal.SIGKILL
    last = (kill_at - 1) // SAVE_EVERY * SAVE_EVERY
    assert (tmp_path / f"broken/states/step-{last:08}").is_dir()
    assert not (tmp_path / f"broken/states/step-{last + SAVE_EVERY:08}").exists()
    assert not (tmp_path / "broken/checkpoint").exists()

    train(config, tmp_path)
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_two_processes_are_one_with_the_double_batch(dataset: Path, tmp_path: Path) -> None:
    """Without noise, weights differ by rounding; with half a batch, they differ by far more."""
    options: dict[str, Any] = {"steps": 4, "sample_every": 0, "validate_every": 0, "ema_decay": 0.0}

    def config_file(name: str, batch_size: int) -> Path:
        config = autoencoder_config(dataset, tmp_path / name, **options)
        config["data"]["batch_size"] = batch_size
        return write_config(config, tmp_path / f"{name}.yaml")

    pair = config_file("pair", 2)
    variables = {  # as `torchrun` and `accelerate launch` set them
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    processes = [
        *(start(pair, remove_noise, RANK=rank, LOCAL_RANK=rank, **variables) for rank in "01"),
        start(config_file("alone", 4), remove_noise),
        start(config_file("half", 2), remove_noise),
    ]
    assert [exit_code(process) for process in processes] == [0, 0, 0, 0]
    alone, of_pair, half = (
        torch.cat([weight.flatten() for weight in weights_of(tmp_path / name).values()])
        for name in ("alone", "pair", "half")
    )
    assert (of_pair - alone).norm() < PROCESSES_TOLERANCE * alone.norm()
    assert (half - alone).norm() > 100 * PROCESSES_TOLERANCE * alone.norm()


def test_the_run_logs_curves_images_and_audio(dataset: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(autoencoder_config(dataset, tmp_path / "run"), tmp_path)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "validation/loss", "learning_rate"} <= set(tags["scalars"])
    assert tags["images"] == ["samples"]
    assert "held out" in tags["audio"]
    steps = [event.step for event in events.Images("samples")]
    assert steps == [1, 6, 12]
    assert (tmp_path / "run/samples/step-00000012.png").is_file()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_its_state(
    dataset: Path, tmp_path: Path
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run")
    config["optimizer"] = {"learning_rate": 1e30, "warmup_steps": 0}
    config["run"]["save_every"] = 1
    with pytest.raises(TrainingError, match=r"loss=\S+ and .* at step \d+ must be finite; the st"):
        train(config, tmp_path)
    assert not (tmp_path / "run/checkpoint").exists()


def test_gradients_that_are_not_finite_do_not_reach_a_state(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0, validate_every=0)
    config["run"]["save_every"] = 1
    trainer = new_trainer(config, tmp_path)
    weight = next(trainer.recipe.objective.parameters())
    calls = itertools.count(1)
    weight.register_hook(lambda gradient: gradient * (torch.nan if next(calls) == 3 else 1))
    with pytest.raises(TrainingError, match=r"gradient_norm=nan at step 3 .* state of step 2 is"):
        trainer.train()
    kept = load_file(tmp_path / "run/states/step-00000002/model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("autoencoder", {"block_out_channels": [8, 16]}, "autoencoder.block_out_channels="),
        ("run", {"seed": 7}, "run.seed=0 then, 7 now"),
        ("optimizer", {"learning_rate": 1e-5}, "optimizer.learning_rate=0.005 then, 1e-05 now"),
    ],
)
def test_another_run_is_not_resumed(
    dataset: Path, tmp_path: Path, section: str, changes: dict[str, Any], named: str
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    config[section] |= changes
    with pytest.raises(InputError, match="holds another run") as caught:
        train(config, tmp_path)
    assert named in str(caught.value)


def test_a_run_from_before_keys_were_renamed_resumes(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    path = tmp_path / "run/run.json"
    identity = json.loads(path.read_text())
    identity["data"]["rolls"] = identity["data"].pop("circular_shifts")
    path.write_text(json.dumps(identity))
    train(config, tmp_path)
    config["data"]["circular_shifts"] = 4
    with pytest.raises(InputError, match=r"data\.circular_shifts=2 then, 4 now"):
        train(config, tmp_path)


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    state = tmp_path / "run/states/step-00000002"
    (state / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="step-00000002.*cannot be loaded"):
        train(config, tmp_path)


def test_a_full_disk_keeps_the_last_state(dataset: Path, tmp_path: Path) -> None:
    options = {"sample_every": 0, "validate_every": 0, "log_every": 1000}
    config = autoencoder_config(dataset, tmp_path / "run", **options)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(done: int, total: int) -> None:
        if done == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, limits[1]))

    trainer = new_trainer(config, tmp_path, progress=fill_up)
    try:
        with pytest.raises(TrainingError) as caught:
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert "the state of step 6 cannot be written" in message and "from step 3" in message
    assert "\n" not in message
    assert sorted(p.name for p in (tmp_path / "run/states").iterdir()) == ["step-00000003"]
    train(config, tmp_path)


def test_unfinished_states_of_a_killed_run_are_deleted(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    states = tmp_path / "run/states"
    trainer = new_trainer(config, tmp_path)
    trainer.states.claim(trainer.config)
    (states / ".unfinished").mkdir(parents=True)
    (states / ".unfinished/model.safetensors").write_bytes(b"incomplete")
    (states / "step-00000001 (a copy)").mkdir()
    trainer.train()
    left = {path.name for path in states.iterdir()}
    assert left == {"step-00000002", "step-00000001 (a copy)"}


def test_a_second_run_in_the_folder_is_refused_and_harms_nothing(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(autoencoder_config(dataset, tmp_path / "alone", sample_every=0), tmp_path)
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0)
    path = write_config(config, tmp_path / "second.yaml")
    codes = []

    def start_another(done: int, total: int) -> None:
        if done in (1, SAVE_EVERY, STEPS):
            codes.append(exit_code(start(path, lambda: None)))

    new_trainer(config, tmp_path, progress=start_another).train()
    assert codes == [2, 2, 2]
    errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert errors == [
        f"error: output={str(tmp_path / 'run')!r} is in use by another run; wait until it ends, "
        "or choose another folder (the other run is "
        f"process {os.getpid()} on {socket.gethostname()})"
    ] * len(codes)
    alone, beside = weights_of(tmp_path / "alone"), weights_of(tmp_path / "run")
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert not (tmp_path / "run/.owner").exists()


def test_a_killed_run_does_not_lock_its_folder(dataset: Path, tmp_path: Path) -> None:
    """Nor do its loader processes, which notice their parent's death only after some seconds."""
    config = autoencoder_config(dataset, tmp_path / "run", steps=4, sample_every=0)
    config["data"]["num_workers"] = 1
    path = write_config(config, tmp_path / "first.yaml")
    assert exit_code(start(path, partial(die_after_step, 2))) == -signal.SIGKILL
    assert (tmp_path / "run/.owner").is_file()
    train(config, tmp_path)
    assert (tmp_path / "run/checkpoint").is_dir()


def test_a_folder_that_a_file_manager_opened_is_vacant(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert train(config, tmp_path).is_dir()


def test_curves_have_no_gap_where_a_run_was_resumed(dataset: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = autoencoder_config(dataset, tmp_path / "run", validate_every=3, sample_every=0)
    train(config, tmp_path)
    shutil.rmtree(tmp_path / f"run/states/step-{STEPS:08}")
    train(config, tmp_path)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation/loss")] == [3, 6, 9, 12]
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert list(losses) == [2, 4, 6, 8, 10, 12]
    assert losses[10] > 0.7 * losses[8]  # it would be half if step 9 counted as 0


def test_ema_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    weights = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(2, 2))]
    ema = ExponentialMovingAverage(weights, decay=0.9)
    ema.step(weights)
    ema.save(tmp_path / "averaged.safetensors")
    other = ExponentialMovingAverage(
        [torch.nn.Parameter(torch.zeros_like(w)) for w in weights], decay=0.9
    )
    other.load(tmp_path / "averaged.safetensors")
    assert other.optimization_step == 1
    for found, expected in zip(other.shadow_params, ema.shadow_params, strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="averages 2 weights"):
        ExponentialMovingAverage(weights[:1], decay=0.9).load(tmp_path / "averaged.safetensors")


def test_ema_follows_its_formula_and_restores_the_weights() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    ema, expected = ExponentialMovingAverage([weight], decay=0.6), 0.0
    for step in range(1, 6):
        weight.data.fill_(float(step))
        ema.step([weight])
        decay = min(1 - step**-0.75, 0.6)
        expected = decay * expected + (1 - decay) * step
    with ema.applied_to([weight]):
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 5


def test_a_precision_that_the_device_lacks_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(InputError, match=r"run\.mixed_precision=fp16 needs a GPU"):
        train(autoencoder_config(dataset, tmp_path / "run", mixed_precision="fp16"), tmp_path)


def test_the_command_takes_every_seed_that_a_configuration_may_have(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    forget_accelerator()
    train_command(write_config(config, tmp_path / "config.yaml"), override=[f"run.seed={2**40}"])
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'run/checkpoint'}\n"


def test_a_vae_whose_latents_cannot_be_scaled_is_refused(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run")
    config["autoencoder"]["use_quant_conv"] = False
    with pytest.raises(InputError, match=r"autoencoder\.use_quant_conv and .* must be true"):
        train(config, tmp_path)


def test_an_output_folder_with_other_things_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/precious.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a run; choose an empty folder"):
        train(autoencoder_config(dataset, tmp_path / "run"), tmp_path)
    assert (tmp_path / "run/precious.txt").read_text() == "mine"


def test_the_learning_rate_rises_stays_constant_and_falls() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=10, flat_share=0.5)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9:50] == pytest.approx([0.1] * 41)
    assert rates[75] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(earlier >= later for earlier, later in itertools.pairwise(rates[50:]))
    assert 0 < rates[-1] < 1e-3


def test_images_smaller_than_the_crop_are_refused(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0)
    config["data"]["crop_width"] = 2 * SIDE
    with pytest.raises(InputError, match=f"data.crop_width={2 * SIDE} exceeds the images' {SIDE}"):
        train(config, tmp_path)
