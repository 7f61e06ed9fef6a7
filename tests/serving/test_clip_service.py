"""What needs a model that can be held, or fails on purpose; the embedded one is in test_predict."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riffusion.clip_generator import ClipGenerator
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import GenerationCancelled, GenerationError, InputError, OverloadedError
from riffusion.seed_library import SeedLibrary
from riffusion.serving.clip_service import (
    MAX_FAILURES_IN_A_ROW,
    ClipService,
    max_live_from_environment,
    max_waiting_from_environment,
)
from riffusion.spectrogram_params import SpectrogramParams

from ..diffusion.checkpoints import tiny_model, write_folder

INPUTS = InferenceInput.parse(
    {
        "start": {"prompt": "bells", "seed": 1},
        "mode": "txt2img",
        "duration_s": 0.16,
        "num_inference_steps": 2,
        "scheduler": "ddim",  # two calls; PNDM's second timestep comes twice
    }
)
TIMEOUT_S = 30.0


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[ClipGenerator]:
    folder = write_folder(tiny_model(), tmp_path / "tiny")
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_live=1)
    yield generator
    generator.engine.close()


class HeldUNet:
    """Waits in every call until it is released, or fails with `failure`."""

    def __init__(self, generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: Exception | None = None
        self.num_calls = 0
        self.called = threading.Event()
        self.released = threading.Event()
        self._forward = generator.pipeline.unet.forward
        monkeypatch.setattr(generator.pipeline.unet, "forward", self.forward)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        self.called.set()
        self.released.wait(TIMEOUT_S)
        if self.failure is not None:
            raise self.failure
        return self._forward(*args, **options)


@pytest.fixture
def unet(generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)


def test_a_job_that_waits_leaves_the_queue_when_its_client_leaves(
    generator: ClipGenerator, unet: HeldUNet
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=1)
        running = await service.submit(INPUTS)
        await asyncio.to_thread(unet.called.wait, TIMEOUT_S)
        waiting = await service.submit(INPUTS)
        with pytest.raises(OverloadedError):
            await service.submit(INPUTS)
        waiting.stop()
        unet.released.set()
        with pytest.raises(GenerationCancelled):
            await waiting.result(lambda: False)
        assert (await running.result(lambda: False)).duration_s == 0.16
        await asyncio.gather(waiting.task, running.task)
        again = await service.submit(INPUTS)
        assert (await again.result(lambda: False)).duration_s == 0.16

    asyncio.run(scenario())
    assert unet.num_calls == 4  # two steps of the first job and of the last


def test_a_job_whose_client_is_gone_stops_at_the_next_step(
    generator: ClipGenerator, unet: HeldUNet
) -> None:
    async def scenario() -> None:
        job = await ClipService(generator).submit(INPUTS)
        await asyncio.to_thread(unet.called.wait, TIMEOUT_S)
        with pytest.raises(GenerationCancelled):
            await job.result(lambda: True)
        unet.released.set()
        await job.task

    asyncio.run(scenario())
    assert unet.num_calls == 1


def test_unexpected_failures_in_a_row_make_it_unhealthy_and_bad_input_does_not(
    generator: ClipGenerator, unet: HeldUNet
) -> None:
    async def ask(service: ClipService) -> None:
        job = await service.submit(INPUTS)
        with pytest.raises((GenerationError, InputError)):
            await job.result(lambda: False)

    async def scenario() -> None:
        unet.released.set()
        service = ClipService(generator)
        unet.failure = RuntimeError("GPU lost")
        for _ in range(MAX_FAILURES_IN_A_ROW):
            assert service.is_healthy
            await ask(service)
        assert not service.is_healthy
        unet.failure = None
        await (await service.submit(INPUTS)).result(lambda: False)
        assert service.is_healthy

    asyncio.run(scenario())


def test_a_stream_tells_of_each_step_and_ends_with_the_clip(
    generator: ClipGenerator,
) -> None:
    async def scenario() -> list[Any]:
        job = await ClipService(generator).submit(INPUTS)
        return [json.loads(line) async for line in job.ndjson()]

    *progress, last = asyncio.run(scenario())
    assert progress == [{"event": "progress", "step": step, "steps": 2} for step in (1, 2)]
    assert last["event"] == "result"
    assert last["duration_s"] == 0.16


def test_a_stream_ends_with_the_error_and_keeps_its_reason_to_the_log(
    generator: ClipGenerator, unet: HeldUNet, caplog: pytest.LogCaptureFixture
) -> None:
    unet.failure = RuntimeError("secret")
    unet.released.set()

    async def scenario() -> list[Any]:
        job = await ClipService(generator).submit(INPUTS)
        return [json.loads(line) async for line in job.ndjson()]

    assert asyncio.run(scenario()) == [
        {"event": "error", "error": "the clip could not be made; the server's log has the reason"}
    ]
    assert "secret" in caplog.text


@pytest.mark.parametrize("text", ["many", "0", "17", "1.5", ""])
def test_a_bad_number_of_live_clips_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIFFUSION_MAX_LIVE", text)
    with pytest.raises(InputError, match=f"RIFFUSION_MAX_LIVE='{text}' must be"):
        max_live_from_environment()


@pytest.mark.parametrize("text", ["many", "-1", "31", "1.5", ""])
def test_a_bad_length_of_the_queue_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIFFUSION_MAX_WAITING", text)
    with pytest.raises(InputError, match=f"RIFFUSION_MAX_WAITING='{text}' must be"):
        max_waiting_from_environment()
