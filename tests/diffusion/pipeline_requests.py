"""Requests to a pipeline with a tiny model, and their images."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline

MAX_LATENT_ERROR = 1e-4  # float32 sums in another order, latents of about 1
MAX_GREY_LEVELS = 1  # rounding to 8 bits
SIZE = 48
SCHEDULERS: list[SchedulerName] = [
    "pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm",
]  # fmt: skip


def request(**changes: Any) -> InferenceInput:
    ends = {"start": {"prompt": "piano", "seed": 1}, "end": {"prompt": "bells", "seed": 2}}
    start = ends["start"] | changes.pop("start", {})
    end = ends["end"] | changes.pop("end", {})
    return InferenceInput.parse(
        {"start": start, "end": end, "alpha": 0.0, "num_inference_steps": 4} | changes
    )


def difference(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())


def finished_latents(pipeline: RiffusionPipeline, *args: Any) -> torch.Tensor:
    job = pipeline.prepare(*args)
    while not job.is_done:
        pipeline.step([job])
    return job.latents
