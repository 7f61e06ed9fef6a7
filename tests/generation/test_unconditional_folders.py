"""Folders of unconditional checkpoints: damaged ones, and what their files decide."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import DDPMScheduler

from riffusion.checkpoint.unconditional import UnconditionalCheckpoint
from riffusion.errors import CheckpointError
from tests.checkpoint.checkpoints import change_json
from tests.generation.unconditional_checkpoints import MEL, write_checkpoint
from tests.generation.unconditional_clips import Folders, made


def _no_weights(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()


def _other_vae(folder: Path) -> None:
    change_json(folder / "model_index.json", vqvae=["diffusers", "AsymmetricAutoencoderKL"])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json; name"),
    "index": (lambda f: (f / "model_index.json").write_text("{"), "cannot be read as JSON"),
    "no mel": (lambda f: (f / "mel/mel_config.json").unlink(), "mel_config.json cannot be read"),
    "mel": (lambda f: (f / "mel/mel_config.json").write_text("[1]"), "must be a JSON object"),
    "mel's text": (lambda f: (f / "mel/mel_config.json").write_text("{"), "is not JSON"),
    "mel's class": (
        lambda f: change_json(f / "mel/mel_config.json", _class_name="Bark"),
        "_class_name='Bark' must be Mel",
    ),
    "mel's number": (
        lambda f: change_json(f / "mel/mel_config.json", n_fft="2048"),
        "n_fft='2048' must be a whole number",
    ),
    "mel's range": (
        lambda f: change_json(f / "mel/mel_config.json", sample_rate=0),
        "sample_rate=0 must be from 1000",
    ),
    "mel's hop": (
        lambda f: change_json(f / "mel/mel_config.json", hop_length=1024),
        "hop_length=1024 must be below n_fft=1024",
    ),
    "mel's size": (
        lambda f: change_json(f / "mel/mel_config.json", x_res=32),
        "16 × 64 must be 16 × 32 as in mel/mel_config.json",
    ),
    "no size": (
        lambda f: change_json(f / "unet/config.json", sample_size=None),
        "sample_size=None",
    ),
    "channels": (
        lambda f: change_json(f / "unet/config.json", out_channels=2),
        "1 channels in and",
    ),
    "scheduler": (
        lambda f: change_json(f / "model_index.json", scheduler=["diffusers", "PNDMScheduler"]),
        "scheduler=PNDMScheduler must be DDPMScheduler or DDIMScheduler",
    ),
    "no unet": (lambda f: change_json(f / "model_index.json", unet=[None, None]), "unet=None must"),
    "VAE": (_other_vae, "vqvae=AsymmetricAutoencoderKL must be AutoencoderKL or"),
    "text": (
        lambda f: change_json(f / "model_index.json", text_encoder=["transformers", "CLIP"]),
        "has a text encoder; use `riffusion generate`",
    ),
    "no weights": (_no_weights, "has no weights in unet/"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(
    folders: Folders, tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(folders(), tmp_path / "copy")
    spoil, message = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(CheckpointError) as refusal:
        made(folder)
    assert message in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_a_spectrogram_there_is_no_audio(tmp_path: Path) -> None:
    """audio-diffusion's first checkpoints are plain pipelines of diffusers, without `mel`."""
    folder = write_checkpoint(tmp_path / "folder")
    shutil.rmtree(folder / "mel")
    index = json.loads((folder / "model_index.json").read_text())
    del index["mel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="has neither mel/mel_config.json nor"):
        UnconditionalCheckpoint.read(str(folder))
    (folder / "mel").mkdir()
    (folder / "mel/mel_config.json").write_text(json.dumps({**MEL, "n_iter": 8}))
    assert len(made(folder)) == 1


def test_the_index_names_the_scheduler_as_for_diffusers(folders: Folders, tmp_path: Path) -> None:
    folder = shutil.copytree(folders(), tmp_path / "copy")
    DDPMScheduler().save_pretrained(folder / "scheduler")
    assert UnconditionalCheckpoint.read(str(folder)).scheduler_name == "ddim"
    change_json(folder / "model_index.json", scheduler=["diffusers", "DDPMScheduler"])
    assert UnconditionalCheckpoint.read(str(folder)).scheduler_name == "ddpm"
