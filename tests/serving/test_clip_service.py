"""What needs a model that can be held, or fails on purpose; the real one is in test_predict."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from riffusion.clip_generator import ClipGenerator
from riffusion.datatypes import InferenceInput
from riffusion.errors import GenerationCancelled, InputError, OverloadedError
from riffusion.serving.clip_service import (
    MAX_FAILURES_IN_A_ROW,
    ClipService,
    max_waiting_from_environment,
)

INPUTS = InferenceInput.parse({"start": {"prompt": "bells", "seed": 1}})


class HeldGenerator:
    """Works until it is told to stop, or fails with `failure`."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.num_running = 0
        self.started = threading.Event()

    def resolve(self, inputs: InferenceInput) -> InferenceInput:
        return inputs

    def generate(
        self,
        resolved: InferenceInput,
        on_progress: Callable[[int, int], None],
        should_stop: Callable[[], bool],
    ) -> Any:
        self.num_running += 1
        self.started.set()
        on_progress(1, 2)
        if self.failure is not None:
            raise self.failure
        while not should_stop():
            threading.Event().wait(0.005)
        raise GenerationCancelled("stopped")


def service_of(generator: HeldGenerator, max_waiting: int = 1) -> ClipService:
    return ClipService(cast(ClipGenerator, generator), max_running=1, max_waiting=max_waiting)


def test_a_job_that_waits_leaves_the_queue_at_once_when_its_client_leaves() -> None:
    generator = HeldGenerator()

    async def scenario() -> None:
        service = service_of(generator)
        running = await service.submit(INPUTS)
        await asyncio.to_thread(generator.started.wait)
        waiting = await service.submit(INPUTS)
        with pytest.raises(OverloadedError):
            await service.submit(INPUTS)
        waiting.stop()
        await asyncio.sleep(0.01)
        in_its_place = await service.submit(INPUTS)  # while the first one still runs
        in_its_place.stop()
        with pytest.raises(GenerationCancelled):
            await running.result(lambda: True)
        assert running.task is not None
        await running.task

    asyncio.run(scenario())
    assert generator.num_running == 1


def test_unexpected_failures_in_a_row_make_it_unhealthy_and_bad_input_does_not() -> None:
    async def ask(service: ClipService, kind: type[Exception]) -> None:
        with pytest.raises(kind):
            await (await service.submit(INPUTS)).result(lambda: False)

    async def scenario() -> None:
        for failure, is_healthy in ((RuntimeError("GPU lost"), False), (InputError("bad"), True)):
            service = service_of(HeldGenerator(failure))
            for _ in range(MAX_FAILURES_IN_A_ROW):
                assert service.is_healthy
                await ask(service, type(failure))
            assert service.is_healthy is is_healthy

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (InputError("too loud", "init_audio"), "init_audio: too loud"),
        (RuntimeError("secret"), "the clip could not be made; the server's log has the reason"),
    ],
)
def test_a_stream_ends_with_the_error(
    failure: Exception, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[Any]:
        job = await service_of(HeldGenerator(failure)).submit(INPUTS)
        return [json.loads(line) async for line in job.ndjson()]

    assert asyncio.run(scenario()) == [
        {"event": "progress", "step": 1, "steps": 2},
        {"event": "error", "error": message},
    ]
    assert ("secret" in caplog.text) is isinstance(failure, RuntimeError)


@pytest.mark.parametrize("text", ["many", "-1", "31", "1.5", ""])
def test_a_bad_length_of_the_queue_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIFFUSION_MAX_WAITING", text)
    with pytest.raises(InputError, match=f"RIFFUSION_MAX_WAITING='{text}' must be"):
        max_waiting_from_environment()
