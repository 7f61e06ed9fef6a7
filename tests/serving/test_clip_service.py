"""The service with a model that waits or fails on purpose; test_predict has the embedded one."""

import asyncio
import errno
import gc
import json
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
    StorageError,
    StorageFullError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.model import clip_job, clip_service, memory_return
from riffusion.serving.model.clip_service import (
    MAX_FAILURES_IN_A_ROW,
    MAX_MEMORY_FAILURES_IN_A_ROW,
    ClipService,
    max_running_from_environment,
    max_waiting_from_environment,
)
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.patience import PATIENCE_S

INPUTS = InferenceInput.parse(
    {
        "start": {"prompt": "bells", "seed": 1},
        "mode": "txt2img",
        "duration_s": 0.16,
        "num_inference_steps": 2,
        "scheduler": "ddim",  # two UNet calls; PNDM makes three
    }
)
TIMEOUT_S = PATIENCE_S


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[ClipGenerator]:
    folder = write_folder(tiny_model(), tmp_path / "tiny")
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield generator
    generator.close()


class HeldUNet:
    """A UNet whose calls wait until they are released; then they fail if `failure` is set."""

    def __init__(self, generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: BaseException | None = None
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


def test_a_waiting_job_leaves_the_queue_when_its_client_leaves(
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


def test_unexpected_failures_in_a_row_make_the_service_unhealthy(
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


@pytest.mark.parametrize(
    "error",
    [
        StorageError("the recording doesn't fit into the folder '/secret'"),
        OSError(errno.ENOSPC, "No space left on device", "/secret"),
    ],
)
def test_a_disk_without_room_for_a_request_s_recording_is_told_without_its_path(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(inputs: InferenceInput) -> None:
        raise error

    async def scenario() -> None:
        service = ClipService(generator)
        monkeypatch.setattr(service._maker, "resolve", full)
        with pytest.raises(StorageFullError) as caught:
            await service.submit(INPUTS)
        assert "secret" not in str(caught.value)

    asyncio.run(scenario())


def test_a_request_that_is_still_read_after_its_deadline_counts_as_at_work(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned, go_on = threading.Semaphore(0), threading.Event()
    monkeypatch.setattr(memory_return, "INTERVAL_S", 0.01)
    monkeypatch.setattr(memory_return, "return_freed_memory", returned.release)

    async def scenario() -> None:
        service = ClipService(generator)
        monkeypatch.setattr(service._maker, "resolve", lambda _: go_on.wait(TIMEOUT_S))
        with pytest.raises(DeadlineExceededError):
            await service.submit(INPUTS.model_copy(update={"deadline_s": 0.01}))
        for _ in range(5):
            assert await asyncio.to_thread(returned.acquire, timeout=TIMEOUT_S)
        go_on.set()

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError("threads can only be started once"), OSError()])
def test_failures_while_submitting_make_the_service_unhealthy(
    generator: ClipGenerator, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = generator.engine.submit

    def fail(*_: Any) -> Any:
        raise error

    async def scenario() -> None:
        service = ClipService(generator)
        monkeypatch.setattr(generator.engine, "submit", fail)
        for _ in range(MAX_FAILURES_IN_A_ROW):
            assert service.is_healthy
            with pytest.raises(type(error)):
                await service.submit(INPUTS)
        assert not service.is_healthy
        monkeypatch.setattr(generator.engine, "submit", submit)
        await (await service.submit(INPUTS)).result(lambda: False)
        assert service.is_healthy

    asyncio.run(scenario())


@pytest.mark.parametrize("duration_s", [0.16, 10.24])
def test_one_client_s_requests_that_run_out_of_memory_do_not_restart_the_replica(
    generator: ClipGenerator, unet: HeldUNet, duration_s: float
) -> None:
    inputs = INPUTS.model_copy(update={"duration_s": duration_s})
    unet.failure = torch.OutOfMemoryError("CUDA out of memory")
    unet.released.set()

    async def scenario() -> None:
        service = ClipService(generator)
        for _ in range(3 * MAX_FAILURES_IN_A_ROW):
            job = await service.submit(inputs)
            with pytest.raises(GenerationError):
                await job.result(lambda: False)
            await job.task
            assert service.is_healthy
        for _ in range(MAX_MEMORY_FAILURES_IN_A_ROW):
            job = await service.submit(inputs)
            with pytest.raises(GenerationError):
                await job.result(lambda: False)
            await job.task
        # Clips of the usual length that never fit mean that the process has lost the memory.
        assert service.is_healthy == (duration_s > 5.12)

    asyncio.run(scenario())


def test_an_engine_that_has_died_makes_the_service_unhealthy_at_once(
    generator: ClipGenerator, unet: HeldUNet
) -> None:
    unet.failure = SystemExit(1)
    unet.released.set()

    async def scenario() -> None:
        service = ClipService(generator)
        assert service.is_healthy
        with pytest.raises(GenerationError, match="the engine's thread has died of SystemExit"):
            await (await service.submit(INPUTS)).result(lambda: False)
        assert not service.is_healthy

    asyncio.run(scenario())


def test_a_stream_reports_each_step_and_ends_with_the_clip(
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
    """Progress is repeated in the queue, between steps, and while the audio is made."""
    monkeypatch.setattr(clip_job, "_HEARTBEAT_S", 0.02)
    finish, in_audio, release = generator.finish, threading.Event(), threading.Event()

    def held(*args: Any) -> Any:
        in_audio.set()
        release.wait(TIMEOUT_S)
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
        await asyncio.to_thread(in_audio.wait, TIMEOUT_S)
        while events[-1]["step"] < 2 or events[-1] != events[-3]:
            events.append(json.loads(await anext(lines)))
        release.set()
        events += [json.loads(line) async for line in lines]
        await asyncio.gather(first.task, waiting.task)
        return events

    *progress, last = asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    reported = [(event["event"], event["step"], event["steps"]) for event in progress]
    assert reported[:3] == [("progress", 0, 2)] * 3
    assert reported == sorted(reported)
    assert set(reported) == {("progress", step, 2) for step in range(3)}
    assert reported.count(("progress", 2, 2)) >= 3
    assert last["event"] == "result"


def test_a_stream_ends_with_an_error_whose_reason_is_only_in_the_log(
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


def test_a_deadline_includes_the_audio_and_leaves_no_timer(
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
        handle = weakref.ref(early.handle)
        del early
        until = time.monotonic() + TIMEOUT_S
        while (result() or handle()) and time.monotonic() < until:  # threads drop theirs
            await asyncio.sleep(0.02)
            gc.collect()
        assert result() is None
        assert handle() is None

    asyncio.run(scenario())


def test_a_clip_that_waits_for_its_audio_is_stopped_at_once_when_its_client_leaves(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()
    finish = generator.finish

    def held(*args: Any) -> Any:
        begun.set()
        release.wait(TIMEOUT_S)
        return finish(*args)

    monkeypatch.setattr(generator, "finish", held)
    monkeypatch.setattr(clip_service, "_num_audio_threads", lambda: 1)

    async def scenario() -> None:
        service = ClipService(generator)
        first = await service.submit(INPUTS)
        await asyncio.to_thread(begun.wait, TIMEOUT_S)
        second = await service.submit(INPUTS)
        await asyncio.to_thread(second.handle.image.result, TIMEOUT_S)
        while second.audio is None:
            await asyncio.sleep(0.001)
        second.stop()
        await asyncio.wait_for(second.task, TIMEOUT_S)
        assert not first.task.done()
        release.set()
        assert (await first.result(lambda: False)).duration_s == 0.16

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["many", "0", "17", "1.5", ""])
def test_an_invalid_number_of_running_clips_is_named(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIFFUSION_MAX_LIVE", text)
    with pytest.raises(InputError, match=f"RIFFUSION_MAX_LIVE='{text}' must be"):
        max_running_from_environment()


@pytest.mark.parametrize("text", ["many", "-1", "31", "1.5", ""])
def test_an_invalid_number_of_waiting_clips_is_named(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIFFUSION_MAX_WAITING", text)
    with pytest.raises(InputError, match=f"RIFFUSION_MAX_WAITING='{text}' must be"):
        max_waiting_from_environment()
