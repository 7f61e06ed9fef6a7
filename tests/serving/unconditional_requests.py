"""An unconditional checkpoint, requests for its clips, and the service's answers."""

import asyncio
import base64
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from riffusion.audio import Audio, audio_from_segment, decode_audio, encode_audio
from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.unconditional import UnconditionalClip, UnconditionalGenerator
from riffusion.serving.model.clip_service import ClipService
from tests.generation.unconditional_checkpoints import CLIP_SAMPLES, MEL, chirp, write_checkpoint

RATE = int(MEL["sample_rate"])
CLIP_S = CLIP_SAMPLES / RATE
LOSSLESS = {"audio_format": "wav", "image_format": "png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("unconditional") / "folder")


@pytest.fixture(scope="module")
def generator(folder: Path) -> UnconditionalGenerator:
    return UnconditionalGenerator.open(str(folder), "cpu")


@functools.cache
def song(num_clips: float = 1, rate: int = RATE) -> str:
    audio = chirp(int(num_clips * CLIP_S * rate), rate)
    return base64.b64encode(encode_audio(audio, "wav")).decode()


def heard(text: str) -> Audio:
    """Audio of a request or an answer."""
    return audio_from_segment(decode_audio(base64.b64decode(text.rpartition(",")[2])))


def body(**changes: Any) -> dict[str, Any]:
    start = {"seed": 1, **changes.pop("start", {})}
    return {"mode": "unconditional", "start": start, "num_inference_steps": 3, **changes}


def request(**changes: Any) -> InferenceInput:
    values = body(**changes)
    return InferenceInput.parse({name: value for name, value in values.items() if value != "unset"})


def answer(
    generator: ClipGenerator | UnconditionalGenerator, inputs: InferenceInput
) -> InferenceOutput:
    async def scenario() -> InferenceOutput:
        job = await ClipService(generator).submit(inputs)
        try:
            return await job.result(lambda: False)
        finally:
            await job.task

    return asyncio.run(scenario())


def assert_is_clip(output: InferenceOutput, clip: UnconditionalClip) -> None:
    """The answer holds the clip's pixels and samples, exactly."""
    image = Image.open(io.BytesIO(base64.b64decode(output.image.partition(",")[2])))
    assert np.array_equal(np.asarray(image), np.asarray(clip.image.convert("RGB")))
    samples, rate = soundfile.read(
        io.BytesIO(base64.b64decode(output.audio.partition(",")[2])), dtype="int16"
    )
    expected, _ = soundfile.read(io.BytesIO(encode_audio(clip.audio, "wav")), dtype="int16")
    assert rate == RATE
    assert np.array_equal(samples, expected)
    assert len(samples) == CLIP_SAMPLES
    assert output.duration_s == CLIP_S
