"""Requests to an engine with a tiny model, and their images."""

import threading
from typing import Any

import numpy as np
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.engine import Engine
from tests.patience import PATIENCE_S

MAX_GREY_LEVELS = 1
"""Rounding to 8 bits of float32 sums in another order."""
TIMEOUT_S = PATIENCE_S
SIZES = ((48, 48), (64, 48))
LONG_PROMPT = "piano and bells " * 60
"""More tokens than the text encoder reads in one chunk."""


def noise_image(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGE = noise_image(SIZES[0])


def request(steps: int = 4, scheduler: SchedulerName | None = None, **start: Any) -> InferenceInput:
    return InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 1} | start,
            "num_inference_steps": steps,
            "scheduler": scheduler,
        }
    )


def levels(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


def blocked(engine: Engine) -> threading.Event:
    """Block the engine inside a step, until the event is set: what is submitted joins together."""
    release = threading.Event()
    began = threading.Event()

    def block(done: int, total: int) -> None:
        began.set()
        release.wait(TIMEOUT_S)

    engine.submit(request(steps=1, denoising=1.0), IMAGE, on_progress=block)
    assert began.wait(TIMEOUT_S)
    return release
