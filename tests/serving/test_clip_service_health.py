"""What makes the service unhealthy: failures, lost memory, a dead engine."""

import asyncio
from typing import Any

import pytest
import torch

from riffusion.errors import GenerationError, InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.serving.model.clip_service import (
    MAX_FAILURES_IN_A_ROW,
    MAX_MEMORY_FAILURES_IN_A_ROW,
    ClipService,
)
from tests.serving.held_unet import INPUTS, HeldUNet, generator, unet

__all__ = ["generator", "unet"]  # fixtures


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
