"""The training loop: it learns, logs, and refuses what it can't train."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from riffusion.cli.train import train as train_command
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.config import load_config
from riffusion.training.recipes import recipe_for
from tests.datasets.striped_dataset import SIDE
from tests.training.trainer_runs import (
    autoencoder_config,
    exit_code,
    forget_accelerator,
    remove_noise,
    start,
    train,
    weights_of,
    write_config,
)

PROCESSES_TOLERANCE = 1e-4
"""Relative difference of weights: gradients are summed in another order, which Adam amplifies for
small gradients."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


def test_a_precision_that_the_device_lacks_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(InputError, match=r"run\.mixed_precision=fp16 needs a GPU"):
        train(autoencoder_config(dataset, tmp_path / "run", mixed_precision="fp16"), tmp_path)


def test_networks_are_compiled_on_a_gpu_only(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(InputError, match=r"run\.compile=true needs a CUDA GPU, but .* on cpu; le"):
        train(autoencoder_config(dataset, tmp_path / "run", compile=True), tmp_path)


@pytest.mark.filterwarnings(
    "default:The .grad attribute:UserWarning"
)  # torch's compiler looks at it
def test_compiled_networks_have_the_same_weights_losses_and_gradients(
    dataset: Path, tmp_path: Path
) -> None:
    config = write_config(autoencoder_config(dataset, tmp_path / "run"), tmp_path / "config.yaml")
    objective = recipe_for(load_config(config)).objective
    batch = {"pixels": torch.rand(2, 3, SIDE, SIDE)}
    names, found = list(objective.state_dict()), []
    for compiles in (False, True):
        if compiles:
            objective.compile_networks(backend="aot_eager")
        loss = objective(batch, torch.Generator().manual_seed(0))["loss"]
        objective.zero_grad()
        loss.backward()
        found.append([loss.detach(), *(weight.grad for weight in objective.parameters())])
    assert list(objective.state_dict()) == names
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


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


def test_images_smaller_than_the_crop_are_refused(dataset: Path, tmp_path: Path) -> None:
    config = autoencoder_config(dataset, tmp_path / "run", sample_every=0)
    config["data"]["crop_width"] = 2 * SIDE
    with pytest.raises(InputError, match=f"data.crop_width={2 * SIDE} exceeds the images' {SIDE}"):
        train(config, tmp_path)
