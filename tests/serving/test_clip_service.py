"""The service with a model that waits on purpose: the queue, clients that leave, deadlines."""

import asyncio
import errno
import gc
import threading
import time
import weakref
from typing import Any

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    InputError,
    OverloadedError,
    StorageError,
    StorageFullError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.serving.model import clip_service, memory_return
from riffusion.serving.model.clip_service import (
    ClipService,
    max_running_from_environment,
    max_waiting_from_environment,
)
from tests.serving.held_unet import INPUTS, TIMEOUT_S, HeldUNet, generator, unet

__all__ = ["generator", "unet"]  # fixtures


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
