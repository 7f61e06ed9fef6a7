"""What needs a model that can be held, or fails on purpose; the embedded one is in test_predict."""

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.model import clip_service
from riffusion.serving.model.clip_service import (
    MAX_FAILURES_IN_A_ROW,
    ClipService,
    max_live_from_environment,
    max_waiting_from_environment,
)
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import tiny_model, write_folder

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
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield generator
    generator.close()


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


def test_a_stream_is_never_silent_for_long(
    generator: ClipGenerator, unet: HeldUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the queue, nor between steps, nor while the sound is made."""
    monkeypatch.setattr(clip_service, "_HEARTBEAT_S", 0.02)
    finish, drawn, heard = generator.finish, threading.Event(), threading.Event()

    def held(*args: Any) -> Any:
        drawn.set()
        heard.wait(TIMEOUT_S)
        return finish(*args)

    monkeypatch.setattr(generator, "finish", held)

    async def scenario() -> list[Any]:
        service = ClipService(generator, max_waiting=1)
        first = await service.submit(INPUTS)
        await asyncio.to_thread(unet.called.wait, TIMEOUT_S)
        waiting = await service.submit(INPUTS)
        lines = waiting.ndjson()
        events = [json.loads(await anext(lines)) for _ in range(3)]
        unet.released.set()
        await asyncio.to_thread(drawn.wait, TIMEOUT_S)
        while events[-1]["step"] < 2 or events[-1] != events[-3]:
            events.append(json.loads(await anext(lines)))
        heard.set()
        events += [json.loads(line) async for line in lines]
        await asyncio.gather(first.task, waiting.task)
        return events

    *progress, last = asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    told = [(event["event"], event["step"], event["steps"]) for event in progress]
    assert told[:3] == [("progress", 0, 2)] * 3
    assert told == sorted(told)
    assert set(told) == {("progress", step, 2) for step in range(3)}
    assert told.count(("progress", 2, 2)) >= 3
    assert last["event"] == "result"


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


def test_a_deadline_counts_for_the_sound_too_and_leaves_no_timer(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = generator.finish

    def slow(*args: Any) -> Any:
        time.sleep(0.6)
        return finish(*args)

    monkeypatch.setattr(generator, "finish", slow)

    async def scenario() -> None:
        service = ClipService(generator)
        late = await service.submit(INPUTS.model_copy(update={"deadline_s": 0.5}))
        with pytest.raises(DeadlineExceededError, match=r"deadline_s=0\.5"):
            await late.result(lambda: False)
        early = await service.submit(INPUTS.model_copy(update={"deadline_s": 3600.0}))
        result = weakref.ref(await early.result(lambda: False))
        await early.task
        drawing = weakref.ref(early.drawing)
        del early
        until = time.monotonic() + TIMEOUT_S
        while (result() or drawing()) and time.monotonic() < until:  # threads let go of it soon
            await asyncio.sleep(0.02)
            gc.collect()
        assert result() is None
        assert drawing() is None

    asyncio.run(scenario())


def test_a_clip_that_waits_for_its_sound_leaves_at_once_when_its_client_does(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()
    finish = generator.finish

    def held(*args: Any) -> Any:
        begun.set()
        release.wait(TIMEOUT_S)
        return finish(*args)

    monkeypatch.setattr(generator, "finish", held)
    monkeypatch.setattr(clip_service, "_num_sound_threads", lambda: 1)

    async def scenario() -> None:
        service = ClipService(generator)
        first = await service.submit(INPUTS)
        await asyncio.to_thread(begun.wait, TIMEOUT_S)
        second = await service.submit(INPUTS)
        await asyncio.to_thread(second.drawing.image.result, TIMEOUT_S)
        while second.sound is None:
            await asyncio.sleep(0.001)
        second.stop()
        await asyncio.wait_for(second.task, TIMEOUT_S)
        assert not first.task.done()
        release.set()
        assert (await first.result(lambda: False)).duration_s == 0.16

    asyncio.run(scenario())


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
