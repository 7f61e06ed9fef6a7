"""What parts of a checkpoint compute with while clips are drawn: ranges of integers fit these.

The light engine draws clips with an exported folder, and the inputs of each part are kept: all
steps of all presets, since activations differ between the noise of the first step and the image of
the last. The VAE's encoder is given the images that were drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.checkpoint.manifest import PARTS
from riffusion.exporting import images
from riffusion.light.networks import OnnxAutoencoder, OnnxTextEncoder, OnnxUNet
from riffusion.light.pipeline import LightPipeline
from riffusion.light.sessions import Session
from riffusion.spectrogram.image import FloatArray

Inputs = dict[str, npt.NDArray[Any]]

PROMPTS = (
    "piano",
    "electric guitar, rock",
    "strings, slow and sad",
    "drums, fast",
    "flute, folk",
    "deep bass, electronic",
    "choir",
    "marimba, major key",
    "saxophone, jazz",
    "synth pad, ambient",
    "brass section, march",
    "harp",
    "hip hop beat with vinyl crackle",
    "organ, minor key",
    "banjo, country",
    "rain and thunder",
)
"""What is drawn for calibration, again from the start with other seeds if there are more clips.
None of them is among the prompts that quality is measured with."""
_FIRST_SEED = 1000


def record(folder: Path, num_clips: int) -> dict[str, list[Inputs]]:
    """Inputs of each part while clips are drawn.

    Args:
        folder: an exported checkpoint.
        num_clips: clips per preset.
    """
    sessions = {part: _Recording(folder / f"{part}.onnx") for part in PARTS}
    pipeline = pipeline_of(folder, sessions)
    prompts = [PROMPTS[number % len(PROMPTS)] for number in range(num_clips)]
    images.draw(pipeline, prompts, first_seed=_FIRST_SEED)
    inputs = {part: session.inputs for part, session in sessions.items()}
    pixels = (found["pixels"] for found in sessions["vae_decoder"].outputs)
    return inputs | {"vae_encoder": [{"pixels": np.clip(it, -1, 1)} for it in pixels]}


def pipeline_of(folder: Path, sessions: Mapping[str, Session]) -> LightPipeline:
    """The light engine's pipeline of a folder, with other sessions for some of its parts."""
    log = logging.getLogger(LightPipeline.__module__)
    level = log.level
    log.setLevel(logging.WARNING)  # that a temporary folder was loaded is no news
    try:
        base = LightPipeline.from_pretrained(folder, hashes=False)
    finally:
        log.setLevel(level)
    shape, manifest = base.checkpoint.manifest.shape, base.checkpoint.manifest
    text_encoder, unet, encoder, decoder = (
        sessions.get(part) or Session(manifest.graph_path(folder, part)) for part in PARTS
    )
    return LightPipeline(
        base.checkpoint,
        OnnxTextEncoder(text_encoder),
        base.tokenizer,
        OnnxUNet(unet, shape.latent_channels, shape.guidance_width),
        OnnxAutoencoder(encoder, decoder, shape.pixels_per_latent),
        base.scheduler,
        base.spectrogram_params,
    )


class _Recording(Session):
    """A session that keeps what goes in and comes out."""

    def __init__(self, graph: Path) -> None:
        super().__init__(graph)
        self.inputs: list[Inputs] = []
        self.outputs: list[dict[str, FloatArray]] = []

    def run(self, inputs: Mapping[str, Any], positions: int = 0) -> dict[str, FloatArray]:
        """Run, and keep both."""
        self.inputs.append({name: np.array(value) for name, value in inputs.items()})
        self.outputs.append(super().run(inputs, positions))
        return self.outputs[-1]
