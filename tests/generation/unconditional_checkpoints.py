"""Checkpoints in audio-diffusion's layout, with small networks and random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

from riffusion.audio import Audio

HEIGHT, WIDTH = 16, 64
"""Mel bands and frames."""
MEL = {
    "_class_name": "Mel",
    "_diffusers_version": "0.8.0.dev0",
    "hop_length": 256,
    "n_fft": 1024,
    "n_iter": 1,
    "sample_rate": 22050,
    "top_db": 80,
    "x_res": WIDTH,
    "y_res": HEIGHT,
}
CLIP_SAMPLES = WIDTH * 256
TOKENS, ENCODING_WIDTH = 2, 8
_OLD_NAMES = {
    ".to_q.": ".query.",
    ".to_k.": ".key.",
    ".to_v.": ".value.",
    ".to_out.0.": ".proj_attn.",
}
_BLOCKS: dict[str, Any] = {"block_out_channels": (8, 16), "norm_num_groups": 4}


def write_checkpoint(
    folder: Path,
    *,
    vqvae: type[AutoencoderKL | VQModel] | None = None,
    scheduler: type[DDIMScheduler | DDPMScheduler] = DDIMScheduler,
    is_conditional: bool = False,
    is_old: bool = False,
    gain: float = 1.0,
) -> Path:
    """Write a checkpoint whose weights depend on nothing but the options.

    Args:
        folder: a new folder.
        vqvae: class of the VAE; None for a UNet of pixels.
        scheduler: class of the scheduler.
        is_conditional: a UNet that needs encodings.
        is_old: names of 2022: `audio_diffusion`, weights as pickles, attention's former names, and
            keys that today's schedulers don't have.
        gain: of the UNet's output. Random predictions are no path from noise to images that could
            be gone backwards, but small ones are.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        factor = 1 if vqvae is None else 2
        parts: dict[str, Any] = {
            "unet": _unet(is_conditional, [HEIGHT // factor, WIDTH // factor]),
            "scheduler": scheduler(num_train_timesteps=1000),
        }
        with torch.no_grad():
            parts["unet"].conv_out.weight *= gain
        if vqvae is not None:
            parts["vqvae"] = _vae(vqvae)
    for name, part in parts.items():
        part.save_pretrained(folder / name, safe_serialization=not is_old)
    (folder / "mel").mkdir()
    (folder / "mel/mel_config.json").write_text(json.dumps(MEL))
    library = "audio_diffusion" if is_old else "diffusers"
    index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
    if vqvae is None and not is_old:
        index["vqvae"] = [None, None]
    text = {"_class_name": "AudioDiffusionPipeline", "mel": [library, "Mel"], **index}
    (folder / "model_index.json").write_text(json.dumps(text))
    if is_old:
        _rename_as_in_2022(folder)
    return folder


def _unet(is_conditional: bool, size: list[int]) -> UNet2DModel | UNet2DConditionModel:
    shared = {"in_channels": 1, "out_channels": 1, "sample_size": size, "layers_per_block": 1}
    if is_conditional:
        return UNet2DConditionModel(
            **shared,
            **_BLOCKS,
            cross_attention_dim=ENCODING_WIDTH,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )
    return UNet2DModel(
        **shared,
        **_BLOCKS,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )


def _vae(kind: type[AutoencoderKL | VQModel]) -> AutoencoderKL | VQModel:
    return kind(
        in_channels=1,
        out_channels=1,
        latent_channels=1,
        sample_size=HEIGHT,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **_BLOCKS,
    )


def _rename_as_in_2022(folder: Path) -> None:
    for path in folder.glob("*/diffusion_pytorch_model.bin"):
        weights = torch.load(path, weights_only=True)
        renamed = {}
        for name, tensor in weights.items():
            for new, old in _OLD_NAMES.items():
                name = name.replace(new, old)
            renamed[name] = tensor
        assert renamed.keys() != weights.keys()
        torch.save(renamed, path)
    path = folder / "scheduler/scheduler_config.json"
    config = json.loads(path.read_text())
    config |= {"tensor_format": "pt", "timestep_values": None, "_diffusers_version": "0.2.4"}
    del config["timestep_spacing"]
    path.write_text(json.dumps(config))


def chirp(num_samples: int = CLIP_SAMPLES, rate: int = 22050, seed: int = 0) -> Audio:
    """A rising tone with clicks, no two parts of which are alike."""
    t = np.arange(num_samples) / rate
    sound = 0.3 * np.sin(2 * np.pi * (300 + 100 * seed + 900 * t) * t)
    sound[:: rate // 5] += 0.5
    return Audio(sound[None].astype(np.float32), rate)
