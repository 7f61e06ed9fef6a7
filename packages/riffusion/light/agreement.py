"""Checks that `shape` in an exported folder's manifest is that of its graphs.

Programs take numbers from there, such as an image's padding. If one is wrong, clips would fail in
the middle, or have another size, so each graph is run once, on the smallest image that there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from riffusion.checkpoint.files import first_line
from riffusion.checkpoint.manifest import MANIFEST_NAME, ExportedShape
from riffusion.errors import CheckpointError
from riffusion.light.sessions import Session
from riffusion.light.tokenizer import LightTokenizer

_TOKEN_NAMES = ("start_token", "end_token", "padding_token")


def check_shape(
    folder: Path,
    shape: ExportedShape,
    tokenizer: LightTokenizer,
    text_encoder: Session,
    unet: Session,
    decoder: Session,
) -> None:
    """Check a manifest's `shape` against tokenizer and graphs.

    Args:
        folder: the exported folder.
        shape: as its manifest has it.
        tokenizer, text_encoder, unet, decoder: the folder's.

    Raises:
        CheckpointError: a number isn't that of the graphs.
    """
    path = folder / MANIFEST_NAME
    size = tokenizer.vocabulary_size
    for name in _TOKEN_NAMES:
        token = getattr(shape, name)
        if token >= size:
            raise _wrong(path, name, token, f"below {size}, the tokenizer's number of tokens")
    inputs = {value.name: value.shape for value in unet.open().get_inputs()}
    found = {
        "latent_channels": inputs["sample"][1],
        "text_width": inputs["encoder_hidden_states"][2],
        "guidance_width": inputs["timestep_cond"][1] if "timestep_cond" in inputs else None,
    }
    for name, width in found.items():
        if getattr(shape, name) != width:
            raise _wrong(path, name, getattr(shape, name), f"{width}, as in unet.onnx")
    _check_tokens(path, shape, text_encoder)
    _check_sizes(path, shape, unet, decoder)


def _check_tokens(path: Path, shape: ExportedShape, text_encoder: Session) -> None:
    ids = np.full((1, shape.tokens), shape.padding_token)
    ids[0, 0], ids[0, -1] = shape.start_token, shape.end_token
    try:
        text_encoder.run({"input_ids": ids})
    except Exception as error:  # onnxruntime's exceptions have no common class
        rule = f"a length that text_encoder.onnx takes ({first_line(error)})"
        raise _wrong(path, "tokens", shape.tokens, rule) from error


def _check_sizes(path: Path, shape: ExportedShape, unet: Session, decoder: Session) -> None:
    side = shape.size_multiple // shape.pixels_per_latent
    latents = np.zeros((1, shape.latent_channels, side, side), np.float32)
    inputs: dict[str, Any] = {
        "sample": latents,
        "timestep": np.zeros(1, np.float32),
        "encoder_hidden_states": np.zeros((1, 1, shape.text_width), np.float32),
        "encoder_attention_mask": np.ones((1, 1), np.float32),
    }
    if shape.guidance_width is not None:
        inputs["timestep_cond"] = np.zeros((1, shape.guidance_width), np.float32)
    try:
        unet.run(inputs)
    except Exception as error:  # as above
        rule = f"a size that unet.onnx takes ({first_line(error)})"
        raise _wrong(path, "size_multiple", shape.size_multiple, rule) from error
    factor = decoder.run({"latents": latents})["pixels"].shape[-1] // side
    if factor != shape.pixels_per_latent:
        rule = f"{factor}, as in vae_decoder.onnx"
        raise _wrong(path, "pixels_per_latent", shape.pixels_per_latent, rule)


def _wrong(path: Path, name: str, value: object, rule: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: shape.{name}={value} must be {rule}; export the checkpoint again with "
        "`riffusion export`, or copy its manifest.json again"
    )
