"""Requests, recordings and results of edits that draw on a canvas."""

from pathlib import Path
from typing import Any

import numpy as np

from riffusion.audio import Recording
from riffusion.datatypes import InferenceInput
from riffusion.editing.splicing import spliced
from tests.editing.recordings import Integers, noise_of, write

RATE = 22_050


def request(**start: Any) -> InferenceInput:
    return InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 1, "denoising": 1.0} | start,
            "num_inference_steps": 2,
            "scheduler": "ddim",
        }
    )


def song(
    path: Path, count: int = 2, rate: int = RATE, bits: int = 16, duration_s: float = 9.3
) -> Path:
    samples = noise_of(bits, count, round(duration_s * rate))
    return write(path, samples // 4 >> (32 - bits) << (32 - bits), rate, bits)


def edited(recording: Recording, parts: Any) -> Integers:
    samples = np.concatenate(list(spliced(recording, parts)), axis=1).astype(np.int64)
    return (samples << (32 - 8 * recording.sample_width)).astype(np.int32)
