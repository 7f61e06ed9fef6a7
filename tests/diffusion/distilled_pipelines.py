"""Distilled checkpoints as pipelines, and requests for them."""

from pathlib import Path
from typing import Any

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.spectrogram.params import SpectrogramParams
from tests.diffusion.pipeline_requests import SIZE, request

DUAL = Distillation(max_steps=8, guidance=(1.0, 10.0), guided_sampling=True)
TXT2IMG = {"mode": "txt2img", "duration_s": SIZE / 100}


def load(folder: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIZE)  # small, so quick
    return pipeline


def instant(**changes: Any) -> InferenceInput:
    return request(**{"scheduler": "lcm", **changes})
