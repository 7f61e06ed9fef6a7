"""Every example configuration is valid: its keys are known, and its networks can be built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from diffusers import UNet2DConditionModel

from riffusion.checkpoint.autoencoders import CLASSES
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.adapters.lora import add_lora
from riffusion.training.config import (
    AutoencoderConfig,
    DistillationConfig,
    FineTuneConfig,
    TextToSpectrogramConfig,
    UnconditionalConfig,
    load_config,
)
from riffusion.training.networks.build import new_network
from riffusion.training.recipes import recipe_for
from riffusion.training.sharded_weights import check_sharded_run
from tests.datasets.striped_dataset import make_striped_dataset

ROOT = Path(__file__).parents[2]
FSDP = ROOT / "configs/accelerate/fsdp_8_gpus.yaml"
CONFIGS = sorted({*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("examples/**/*.yaml")} - {FSDP})
NAMES = [str(path.relative_to(ROOT)) for path in CONFIGS]
DEMO_AUTOENCODER = Path("runs/demo/1_autoencoder/checkpoint")
SIDE, SMALL_SIDE = 512, 256
LORA_PARAMETERS_OF_RANK_16 = 3_188_736
"""Stable Diffusion 1.x: the 199,296 inputs and outputs of its 128 attention layers, times 16."""
LORA_PARAMETERS_OF_RANK_64 = 67_252_224
"""The same for all layers that LCM-LoRA updates."""


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Data sets of two images per split, by image size."""
    folder = tmp_path_factory.mktemp("data")
    return {
        side: make_striped_dataset(
            folder / str(side), 1, side, SpectrogramParams(num_frequencies=side)
        )
        for side in (SIDE, SMALL_SIDE)
    }


@pytest.fixture(scope="module")
def demo_autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the embedded checkpoint's first configuration, with random weights."""
    config = load_config(ROOT / "configs/demo/1_autoencoder.yaml")
    assert isinstance(config, AutoencoderConfig)
    options = dict(config.autoencoder)
    network_class = CLASSES[options.pop("class_name")]
    folder = tmp_path_factory.mktemp("1_autoencoder")
    with torch.random.fork_rng():
        new_network(network_class, options, "autoencoder").save_pretrained(folder / "vae")
    return folder


def test_there_is_an_example_of_every_task() -> None:
    tasks = {load_config(path).task for path in CONFIGS}
    assert tasks == {
        "autoencoder",
        "text_to_spectrogram",
        "unconditional",
        "audio_conditional",
        "fine_tune",
        "distill",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=NAMES)
def test_a_configuration_fits_its_networks(
    path: Path,
    datasets: dict[int, Path],
    demo_autoencoder: Path,
    pristine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)  # paths in configurations are relative to it
    config = load_config(path)
    side = SMALL_SIDE if isinstance(config, UnconditionalConfig) else SIDE
    changes: dict[str, Any] = {
        "data": config.data.model_copy(update={"dataset": datasets[side], "replay": None})
    }
    if isinstance(config, FineTuneConfig | DistillationConfig):
        # In place of one that isn't here, a tiny checkpoint, whose layers have the same names.
        if not Path(config.checkpoint).is_dir():
            changes["checkpoint"] = str(pristine)
    elif config.init_from is not None:
        assert config.init_from == DEMO_AUTOENCODER
        changes["init_from"] = demo_autoencoder
    if isinstance(config, TextToSpectrogramConfig):
        assert config.vae == DEMO_AUTOENCODER
        changes["vae"] = demo_autoencoder
    is_large = isinstance(config, UnconditionalConfig)
    with torch.random.fork_rng(), torch.device("meta" if is_large else "cpu"):
        recipe = recipe_for(config.model_copy(update=changes))
    if isinstance(config, AutoencoderConfig):
        assert recipe.examples("train", Path())[0, 0]["pixels"].shape[-1] == config.data.crop_width
        return  # the tests of its recipe train it
    is_distilled = isinstance(config, DistillationConfig)
    unet: Any = recipe.objective.student if is_distilled else recipe.objective.unet
    size: Any = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    noisy = torch.zeros(1, unet.config.in_channels, height, width, device="meta")
    states = {}
    if not isinstance(config, UnconditionalConfig):
        states["encoder_hidden_states"] = torch.zeros(
            1, 7, unet.config.cross_attention_dim, device="meta"
        )
    step = torch.zeros(1, dtype=torch.long, device="meta")
    assert unet.float().to("meta")(noisy, step, **states).sample.shape == noisy.shape
    recipe.facts()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fine_tune_riffusion_v1", LORA_PARAMETERS_OF_RANK_16),
        ("distill_riffusion_v1", LORA_PARAMETERS_OF_RANK_64),
    ],
)
def test_the_recipe_for_the_published_checkpoint_fits_its_shape(name: str, parameters: int) -> None:
    config = load_config(ROOT / f"configs/{name}.yaml")
    assert isinstance(config, FineTuneConfig | DistillationConfig)
    assert config.lora is not None
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)  # else Stable Diffusion 1.x by default
        assert sum(weight.numel() for weight in unet.parameters()) == 859_520_964
        add_lora(unet, "unet", config.lora)
    trained = sum(weight.numel() for weight in unet.parameters() if weight.requires_grad)
    assert trained == parameters


def test_the_configuration_of_accelerate_shards_the_largest_blocks() -> None:
    """It is read as `accelerate launch` reads it; the memory in it follows from these numbers."""
    found: Any = load_config_from_file(str(FSDP))
    assert found.num_processes == 8
    assert str(found.distributed_type) == "DistributedType.FSDP"
    options = found.fsdp_config
    assert options["fsdp_version"] == 2
    config = load_config(ROOT / "configs/fine_tune_8_gpus.yaml")
    check_sharded_run(config)
    assert found.mixed_precision == config.run.mixed_precision
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    names = options["fsdp_transformer_layer_cls_to_wrap"].split(",")
    units = [module for module in unet.modules() if type(module).__name__ in names]
    sizes = [sum(weight.numel() for weight in unit.parameters()) for unit in units]
    assert (max(sizes), sum(sizes)) == (49_164_800, 780_079_040)


@pytest.mark.parametrize("name", ["ema_decay", "validate_every", "sample_every"])
def test_what_sharded_weights_cannot_do_is_refused(name: str) -> None:
    path = ROOT / "configs/fine_tune_8_gpus.yaml"
    value = 0.5 if name == "ema_decay" else 7
    with pytest.raises(InputError, match=rf"run\.{name}={value} must be 0 where weights are sh"):
        check_sharded_run(load_config(path, [f"run.{name}={value}"]))


def test_the_former_version_of_fsdp_is_refused() -> None:
    config = load_config(ROOT / "configs/fine_tune_8_gpus.yaml")
    with pytest.raises(InputError, match=r"fsdp_version=1 must be 2; launch with --fsdp_version 2"):
        check_sharded_run(config, 1)
