"""Checkpoints with each of diffusers' image autoencoders, and with others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.checkpoint.autoencoders import CLASSES
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError
from riffusion.training.export.checkpoint import write_checkpoint
from riffusion.training.networks.build import load_autoencoder
from tests.checkpoint.autoencoder_checkpoints import FACTOR, KL_BLOCKS, checkpoint
from tests.checkpoint.checkpoints import LATENT_CHANNELS, change_json


def request(denoising: float) -> InferenceInput:
    return InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 3, "denoising": denoising},
            "num_inference_steps": 2,
        }
    )


def reconstruction(vae: Any, image: Image.Image) -> np.ndarray:
    """By the class's own `forward`, without this project's code."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        copy = vae(pixels).sample[0]
    return np.asarray(((copy.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy(), int)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_encodes_and_decodes(name: str, tmp_path: Path) -> None:
    pipeline = RiffusionPipeline.from_pretrained(checkpoint(name, tmp_path / "it"), device="cpu")
    assert type(pipeline.vae).__name__ == name
    assert pipeline.vae_scale_factor == FACTOR
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    if name != "AutoencoderKL":  # which draws latents from a posterior
        copy = np.asarray(pipeline.riffuse(request(denoising=0.0), image), int)
        assert np.abs(copy - reconstruction(pipeline.vae, image)).max() <= 1
    job = pipeline.prepare(request(denoising=0.0), image)
    assert job.latents.shape == (1, LATENT_CHANNELS, 48 // FACTOR, 64 // FACTOR)
    drawn = pipeline.riffuse(request(denoising=0.8), image)
    assert drawn.size == image.size
    assert pipeline.riffuse(request(denoising=0.8), image).tobytes() == drawn.tobytes()


@pytest.mark.parametrize("name", ["AutoencoderDC", "AutoencoderTiny", "VQModel"])
def test_deterministic_latents_do_not_depend_on_the_seed_and_are_scaled(
    name: str, tmp_path: Path
) -> None:
    pipeline = RiffusionPipeline.from_pretrained(checkpoint(name, tmp_path / "it"), device="cpu")
    image = Image.effect_noise((32, 32), 60).convert("RGB")
    latents = pipeline.prepare(request(denoising=0.0), image).latents
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    mean, deviation = autoencoders.posterior(pipeline.vae, pixels)
    assert not deviation.any()
    expected = pipeline.vae.encode(pixels, return_dict=False)[0]
    assert torch.equal(mean, expected)
    assert torch.allclose(latents, expected * pipeline.vae.config.scaling_factor, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_of_every_class_is_written_and_read_back(name: str, tmp_path: Path) -> None:
    pipeline = RiffusionPipeline.from_pretrained(checkpoint(name, tmp_path / "it"), device="cpu")
    write_checkpoint(pipeline, tmp_path / "copy")
    copy = RiffusionPipeline.from_pretrained(tmp_path / "copy", device="cpu")
    assert type(copy.vae) is type(pipeline.vae)
    assert copy.vae.config.scaling_factor == pipeline.vae.config.scaling_factor
    for key, weight in pipeline.vae.state_dict().items():
        assert torch.equal(copy.vae.state_dict()[key], weight.half().float()), key


@pytest.mark.parametrize("name", ["AutoencoderKLWan", "ConsistencyDecoderVAE", "UNet2DModel"])
def test_other_classes_are_refused(name: str, tmp_path: Path) -> None:
    folder = checkpoint("AutoencoderDC", tmp_path / "it")
    change_json(folder / "model_index.json", vae=["diffusers", name])
    with pytest.raises(CheckpointError, match=rf"has vae={name}; .*AutoencoderKL, AutoencoderDC"):
        RiffusionPipeline.from_pretrained(folder, device="cpu")


def test_index_and_configuration_must_name_the_same_class(tmp_path: Path) -> None:
    folder = checkpoint("AutoencoderDC", tmp_path / "it")
    change_json(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    expected = r"_class_name='AutoencoderDC' must be 'AutoencoderTiny', as model_index.json says; "
    with pytest.raises(CheckpointError, match=expected):
        RiffusionPipeline.from_pretrained(folder, device="cpu")


def test_weights_of_another_class_are_refused(tmp_path: Path) -> None:
    folder = checkpoint("AutoencoderDC", tmp_path / "it")
    other = checkpoint("AutoencoderTiny", tmp_path / "other")
    weights = "vae/diffusion_pytorch_model.safetensors"
    (folder / weights).write_bytes((other / weights).read_bytes())
    with pytest.raises(CheckpointError, match=r"lacks \d+ of the \d+ weights of its AutoencoderDC"):
        RiffusionPipeline.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": ["AutoencoderDC"]}, r"_class_name=\['AutoencoderDC'\] is not a supported"),
        ({"_class_name": "UNet2DModel"}, "_class_name='UNet2DModel' is not a supported autoenc"),
        ({"latent_channels": "x"}, r"config.json does not fit AutoencoderDC \(.*\); download the"),
        (
            {"encoder_block_out_channels": []},
            r"config.json does not fit AutoencoderDC \(.*\); download the",
        ),
    ],
)
def test_a_damaged_autoencoder_of_a_training_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = checkpoint("AutoencoderDC", tmp_path / "it")
    change_json(folder / "vae/config.json", **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_autoencoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"in_channels": 1}, {"out_channels": 1}])
def test_an_autoencoder_of_grey_images_is_refused(options: dict[str, int], tmp_path: Path) -> None:
    with torch.random.fork_rng():
        CLASSES["AutoencoderKL"](**KL_BLOCKS, **options).save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match=r"in_channels=\d and out_channels=\d must be 3, as"):
        load_autoencoder(tmp_path)
