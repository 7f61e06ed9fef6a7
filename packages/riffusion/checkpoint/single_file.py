"""Reading a single file in the original layout of Stable Diffusion 1.x (`.safetensors`, `.ckpt`).

Such a file holds only the weights, under the names of the original code. The configuration is
derived from the weights' shapes; settings that shapes don't determine are those of Stable Diffusion
1.x. Files of a diffusers folder beside the single file (`unet/config.json`, `vae/config.json`,
`text_encoder/config.json`, `scheduler/scheduler_config.json`, `tokenizer/`) take precedence, each
for its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import PNDMScheduler
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from riffusion.checkpoint.files import SCHEDULER_NAME, first_line, read_json, read_weights
from riffusion.checkpoint.folder import RawCheckpoint
from riffusion.checkpoint.hub import fetch_clip_tokenizer
from riffusion.checkpoint.kinds import foreign_kind
from riffusion.errors import CheckpointError

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
CLIP_VOCAB_SIZE = 49408
UNET_HEADS = 8
CLIP_HEAD_CHANNELS = 64
ALPHA_TOLERANCE = 1e-3  # absolute, of cumulative alphas in [0, 1]; half precision resolves 5e-4
STABLE_DIFFUSION_SCHEDULE = {  # v1-inference.yaml of the original release; sampler PNDM
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

Weights = Mapping[str, torch.Tensor]


def read_single_file(path: Path, *, local_files_only: bool = False) -> RawCheckpoint:
    """Read a single file into diffusers' layout.

    Args:
        path: the file. Its tokenizer is taken from `tokenizer/` beside it, else from the hub.
        local_files_only: look for the hub's tokenizer in the local cache only.

    Raises:
        CheckpointError: the file is truncated or another kind of model, or it has no
            tokenizer.
    """
    weights = read_weights([path])
    _check_kind(weights, path)
    beside = path.parent
    infer = {"unet": _unet_config, "vae": _vae_config, "text_encoder": _text_config}
    try:
        configs = {
            part: _config_beside(beside / part / "config.json") or function(weights)
            for part, function in infer.items()
        }
        converted = {
            "unet": convert_ldm_unet_checkpoint(weights, configs["unet"]),
            "vae": convert_ldm_vae_checkpoint(weights, configs["vae"]),
            "text_encoder": convert_ldm_clip_checkpoint(weights),
        }
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not have the layers of Stable Diffusion 1.x ({first_line(error)}); "
            "use its diffusers folder, or another checkpoint"
        ) from error
    configs["scheduler"] = _config_beside(beside / SCHEDULER_NAME) or _schedule(weights, path)
    return RawCheckpoint(
        configs=configs,
        weights=converted,
        tokenizer=_tokenizer_folder(path, configs["text_encoder"], local_files_only),
        directory=beside,
        paths=dict.fromkeys(configs, path),
        weights_format="SafeTensors" if path.suffix == ".safetensors" else "pickle",
    )


def _config_beside(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _check_kind(weights: Weights, path: Path) -> None:
    """Check that the file holds a UNet, a VAE and a text encoder.

    Raises:
        CheckpointError: one of the three is missing.
    """
    absent = [
        prefix
        for prefix in (UNET, VAE, TEXT)
        if not any(name.startswith(prefix) for name in weights)
    ]
    if not absent:
        return
    if kind := foreign_kind(weights):
        raise CheckpointError(f"{path} is {kind}")
    raise CheckpointError(
        f"{path} has no weights named {absent[0]}…, which single-file checkpoints of Stable "
        "Diffusion 1.x have; use one that is not pruned, or a diffusers folder"
    )


def _unet_config(weights: Weights) -> dict[str, Any]:
    """Configuration of the UNet2DConditionModel, from the shapes of the weights.

    The input blocks are a convolution, then per level its residual blocks, each with or without a
    transformer. Every level but the last ends with a downsampling convolution.
    """
    first = weights[f"{UNET}input_blocks.0.0.weight"]
    levels: list[list[tuple[int, bool]]] = [[]]
    number = 1
    while any(name.startswith(f"{UNET}input_blocks.{number}.") for name in weights):
        block = f"{UNET}input_blocks.{number}"
        if f"{block}.0.op.weight" in weights:
            levels.append([])
        else:
            channels = weights[f"{block}.0.in_layers.2.weight"].shape[0]
            levels[-1].append((channels, f"{block}.1.proj_in.weight" in weights))
        number += 1
    attention = [level[0][1] for level in levels]
    query_name = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return {
        "in_channels": first.shape[1],
        "out_channels": weights[f"{UNET}out.2.weight"].shape[0],
        "block_out_channels": [level[0][0] for level in levels],
        "layers_per_block": len(levels[0]),
        "down_block_types": [
            "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention
        ],
        "up_block_types": [
            "CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)
        ],
        "cross_attention_dim": weights[query_name].shape[1],
        "use_linear_projection": weights[f"{UNET}middle_block.1.proj_in.weight"].ndim == 2,
        "attention_head_dim": UNET_HEADS,  # the number of heads, despite diffusers' name
    }


def _vae_config(weights: Weights) -> dict[str, Any]:
    """Configuration of the AutoencoderKL, from the shapes of the weights."""
    channels: list[int] = []
    while (name := f"{VAE}encoder.down.{len(channels)}.block.0.conv1.weight") in weights:
        channels.append(weights[name].shape[0])
    layers = 0
    while f"{VAE}encoder.down.0.block.{layers}.conv1.weight" in weights:
        layers += 1
    return {
        "in_channels": weights[f"{VAE}encoder.conv_in.weight"].shape[1],
        "out_channels": weights[f"{VAE}decoder.conv_out.weight"].shape[0],
        "latent_channels": weights[f"{VAE}post_quant_conv.weight"].shape[1],
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
    }


def _text_config(weights: Weights) -> dict[str, Any]:
    """Configuration of the CLIPTextModel, from the shapes of the weights."""
    vocab_size, hidden_size = weights[f"{TEXT}embeddings.token_embedding.weight"].shape
    layers = 0
    while f"{TEXT}encoder.layers.{layers}.mlp.fc1.weight" in weights:
        layers += 1
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": weights[f"{TEXT}encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden_size // CLIP_HEAD_CHANNELS),
        "max_position_embeddings": weights[f"{TEXT}embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
    }


def _schedule(weights: Weights, path: Path) -> dict[str, Any]:
    """Configuration of the scheduler, checked against the file's noise schedule if it has one.

    Raises:
        CheckpointError: the file was trained with another noise schedule.
    """
    config = dict(STABLE_DIFFUSION_SCHEDULE)
    if "v_pred" in weights:  # the marker of v-prediction models
        config["prediction_type"] = "v_prediction"
    stored = weights.get("alphas_cumprod")
    if stored is not None:
        expected = PNDMScheduler.from_config(config).alphas_cumprod
        if stored.shape != expected.shape or not torch.allclose(
            stored.float(), expected.float(), rtol=0, atol=ALPHA_TOLERANCE
        ):
            raise CheckpointError(
                f"{path} was trained with another noise schedule than Stable Diffusion 1.x; put "
                f"its {SCHEDULER_NAME} beside it"
            )
    return config


def _tokenizer_folder(path: Path, config: dict[str, Any], local_files_only: bool) -> Path:
    """Folder of the tokenizer: beside the file, else downloaded from the hub.

    Raises:
        CheckpointError: none is beside the file, and the hub's doesn't fit or can't be reached.
    """
    beside = path.parent / "tokenizer"
    if beside.is_dir():
        return beside
    remedy = f"put vocab.json and merges.txt of its tokenizer into {beside}"
    if config["vocab_size"] != CLIP_VOCAB_SIZE:
        raise CheckpointError(
            f"{path} has no tokenizer, and vocab_size={config['vocab_size']} is not that of "
            f"Stable Diffusion 1.x ({CLIP_VOCAB_SIZE}); {remedy}"
        )
    try:
        return fetch_clip_tokenizer(local_files_only=local_files_only)
    except CheckpointError as error:
        raise CheckpointError(f"{path} has no tokenizer; {remedy} ({error})") from error
