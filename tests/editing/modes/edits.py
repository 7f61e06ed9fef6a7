"""Requests of edits, and the service's answers to them."""

import asyncio
import base64
import io
from typing import Any

import numpy as np
import soundfile

from riffusion.audio.waveform import Waveform
from riffusion.datatypes import EditOutput, InferenceInput
from riffusion.edit_fields import MODES_OF_NOISE, MODES_WITHOUT_CHECKPOINT
from riffusion.generation.generator import ClipGenerator
from riffusion.serving.model.clip_service import ClipService
from riffusion.spectrogram.params import SpectrogramParams

RATE = 22_050
TINY = SpectrogramParams(
    sample_rate=11_025,
    max_frequency=5000,
    num_frequencies=48,
    step_size_ms=80,
    window_duration_ms=200,
    padded_duration_ms=400,
)
SMALLEST = SpectrogramParams(
    num_frequencies=16, step_size_ms=160, window_duration_ms=400, padded_duration_ms=400
)
"""A clip is 32 frames of 16 bands, so that many steps are quick."""
TEMPO_BPM = 120.0
DURATION_S = 8.0


def encoded(waveform: Waveform, rate: int = RATE, format: str = "WAV") -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.T, rate, format=format)
    return base64.b64encode(buffer.getvalue()).decode()


def edit(song: str, mode: str, **fields: Any) -> InferenceInput:
    request = {"mode": mode, "init_audio": song, "audio_format": "wav"}
    if mode not in MODES_WITHOUT_CHECKPOINT:
        request["start"] = {"prompt": "piano", "seed": 1}
        request |= {"num_inference_steps": 2, "scheduler": "ddim"}
    if mode in MODES_OF_NOISE:
        request["num_inference_steps"] = 5
    if mode == "between":
        request["init_audio_b"] = song
    return InferenceInput.parse(request | fields)


def repainted(song: str, **fields: Any) -> InferenceInput:
    return edit(song, "repaint", region={"from_s": 2.0, "to_s": 4.0}, **fields)


def answer(generator: ClipGenerator, inputs: InferenceInput) -> EditOutput:
    async def scenario() -> Any:
        job = await ClipService(generator).submit(inputs)
        try:
            return await job.result(lambda: False)
        finally:
            await job.task

    output = asyncio.run(scenario())
    assert isinstance(output, EditOutput)
    return output


def samples_of(output: EditOutput) -> np.ndarray:
    data = base64.b64decode(output.audio.split(",")[1])
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    assert rate == RATE
    return np.asarray(samples.T)
