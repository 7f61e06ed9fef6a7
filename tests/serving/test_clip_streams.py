"""Streams of the service: each step, signs of life, and errors."""

import asyncio
import json
import threading
from typing import Any

import pytest

from riffusion.generation.generator import ClipGenerator
from riffusion.serving.model import clip_job
from riffusion.serving.model.clip_service import ClipService
from tests.serving.held_unet import INPUTS, TIMEOUT_S, HeldUNet, generator, unet

__all__ = ["generator", "unet"]  # fixtures


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
