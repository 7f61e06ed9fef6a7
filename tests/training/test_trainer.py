"""The training loop: it learns, it goes on exactly where it was ended, it keeps what it has."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from riffusion.errors import InputError, TrainingError
from riffusion.training.config import OptimizerConfig, load_config
from riffusion.training.recipes import recipe_for
from riffusion.training.trainer import Trainer, learning_rate_at, new_accelerator

from .striped_dataset import SIDE, make_striped_dataset

STEPS = 12
SAVE_EVERY = 3
PROCESS_TIMEOUT_S = 240
"""Two processes that import torch on a busy machine take most of a minute."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes")


def autoencoder_config(dataset: Path, output: Path, **run: Any) -> dict[str, Any]:
    return {
        "task": "autoencoder",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 4, "crop_width": 16, "rolls": 2},
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


def train(config: dict[str, Any], folder: Path) -> Path:
    """Train in this process."""
    options = load_config(write_config(config, folder / "config.yaml"))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = new_accelerator(options)
    torch.manual_seed(options.run.seed)
    return Trainer(options, recipe_for(options), accelerator).train()


def start(config: Path, *launcher: str) -> subprocess.Popen[str]:
    """Train in another process, as a user does."""
    command = [sys.executable, "-m", *launcher, "riffusion", "train", str(config)]
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=PROCESS_TIMEOUT_S)
    return process.returncode, errors


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
    assert "24 training and 24 validation pictures" in (folder / "README.md").read_text()


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
    from riffusion.training.examples import pixels_from_bytes

    return pixels_from_bytes(torch.from_numpy(examples.pixels(row).copy()))


def test_a_killed_run_goes_on_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    whole = autoencoder_config(dataset, tmp_path / "whole")
    code, errors = finish(start(write_config(whole, tmp_path / "whole.yaml")))
    assert code == 0, errors

    broken = autoencoder_config(dataset, tmp_path / "broken", steps=STEPS)
    path = write_config(broken, tmp_path / "broken.yaml")
    process = start(path)
    first_state = tmp_path / "broken/states" / f"step-{SAVE_EVERY:08}"
    deadline = time.monotonic() + PROCESS_TIMEOUT_S
    while not first_state.is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "broken/checkpoint").exists()

    code, errors = finish(start(path))
    assert code == 0, errors
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_two_processes_are_one_with_the_double_batch(dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 4, "sample_every": 0, "validate_every": 0, "ema_decay": 0.0}
    alone = autoencoder_config(dataset, tmp_path / "alone", **options)
    alone["data"]["batch_size"] = 4
    alone["loss"] = {"kl": 0.0}
    code, errors = finish(start(write_config(alone, tmp_path / "alone.yaml")))
    assert code == 0, errors
    pair = autoencoder_config(dataset, tmp_path / "pair", **options)
    pair["data"]["batch_size"] = 2
    pair["loss"] = {"kl": 0.0}
    launcher = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    path = write_config(pair, tmp_path / "pair.yaml")
    code, errors = finish(start(path, *launcher))
    assert code == 0, errors
    # The posterior's noise differs between the two, so the weights agree only roughly.
    a, b = weights_of(tmp_path / "alone"), weights_of(tmp_path / "pair")
    similarity = torch.nn.functional.cosine_similarity(
        torch.cat([v.flatten().float() for v in a.values()]),
        torch.cat([v.flatten().float() for v in b.values()]),
        dim=0,
    )
    assert similarity > 0.99


def test_the_run_shows_curves_pictures_and_sound(dataset: Path, tmp_path: Path) -> None:
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


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_its_state(
    dataset: Path, tmp_path: Path
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run")
    config["optimizer"] = {"learning_rate": 1e30, "warmup_steps": 0}
    config["run"]["save_every"] = 1
    with pytest.raises(TrainingError, match=r"loss=\S+ at step \d+ must be finite; the state of"):
        train(config, tmp_path)
    assert not (tmp_path / "run/checkpoint").exists()


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("autoencoder", {"block_out_channels": [8, 16]}, "autoencoder.block_out_channels="),
        ("run", {"seed": 7}, "run.seed=0 then, 7 now"),
        ("optimizer", {"learning_rate": 1e-5}, "optimizer.learning_rate=0.005 then, 1e-05 now"),
    ],
)
def test_another_run_is_not_gone_on_with(
    dataset: Path, tmp_path: Path, section: str, changes: dict[str, Any], named: str
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    config[section] |= changes
    with pytest.raises(InputError, match="holds another run") as caught:
        train(config, tmp_path)
    assert named in str(caught.value)


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", steps=2, sample_every=0)
    train(config, tmp_path)
    state = tmp_path / "run/states/step-00000002"
    (state / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingError, match="step-00000002.*cannot be loaded"):
        train(config, tmp_path)


def test_a_full_disk_keeps_the_last_state(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0, validate_every=0)
    save_state = "accelerate.Accelerator.save_state"
    from accelerate import Accelerator

    original = Accelerator.save_state

    def fill_up(self: Accelerator, folder: str) -> None:
        if "step-00000006" in folder:
            original(self, folder)
            raise OSError(28, "No space left on device")
        original(self, folder)

    monkeypatch.setattr(save_state, fill_up)
    with pytest.raises(TrainingError, match="state of step 6 cannot be written.*from step 3"):
        train(config, tmp_path)
    assert sorted(p.name for p in (tmp_path / "run/states").iterdir()) == ["step-00000003"]
    monkeypatch.undo()
    train(config, tmp_path)
    shutil.rmtree(tmp_path / "run/states")


def test_an_output_folder_with_other_things_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/precious.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a run; choose an empty folder"):
        train(autoencoder_config(dataset, tmp_path / "run"), tmp_path)
    assert (tmp_path / "run/precious.txt").read_text() == "mine"


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=10, flat_share=0.5)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9:50] == pytest.approx([0.1] * 41)
    assert rates[75] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(earlier >= later for earlier, later in itertools.pairwise(rates[50:]))
    assert 0 < rates[-1] < 1e-3


def test_pictures_smaller_than_the_crop_are_refused(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0)
    config["data"]["crop_width"] = 2 * SIDE
    with pytest.raises(
        InputError, match=f"data.crop_width={2 * SIDE} exceeds the pictures' {SIDE}"
    ):
        train(config, tmp_path)
