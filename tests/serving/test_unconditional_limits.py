"""The service with an unconditional checkpoint that waits or fails on purpose."""

import asyncio
import threading
from typing import Any

import prometheus_client
import pytest
import torch

from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    OverloadedError,
)
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.serving.model.clip_service import MAX_FAILURES_IN_A_ROW, ClipService
from tests.patience import PATIENCE_S
from tests.serving.unconditional_requests import CLIP_S, answer, folder, generator, request

__all__ = ["folder", "generator"]  # fixtures


class HeldUNet:
    """A UNet whose calls wait until they are released; then they fail if `failure` is set."""

    def __init__(self, generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: BaseException | None = None
        self.num_calls = 0
        self.called, self.released = threading.Event(), threading.Event()
        unet = generator.sampler._unet
        self._forward = unet.forward
        monkeypatch.setattr(unet, "forward", self.forward)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        self.called.set()
        self.released.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return self._forward(*args, **options)


@pytest.fixture
def unet(generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)


def gauge(name: str) -> float:
    lines = prometheus_client.generate_latest().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_clips_wait_for_each_other_and_leave_when_their_clients_do(
    generator: UnconditionalGenerator, unet: HeldUNet
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=1)
        running = await service.submit(request())
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        waiting = await service.submit(request())
        assert (gauge("riffusion_live_jobs"), gauge("riffusion_waiting_jobs")) == (1, 1)
        with pytest.raises(OverloadedError) as refusal:
            await service.submit(request())
        assert refusal.value.retry_after_s >= 1
        waiting.stop()
        with pytest.raises(GenerationCancelled):  # at once, though the other one still runs
            await waiting.result(lambda: False)
        await waiting.task
        with pytest.raises(GenerationCancelled):
            await running.result(lambda: True)
        unet.released.set()
        await running.task
        assert unet.num_calls == 1
        again = await service.submit(request())
        assert (await again.result(lambda: False)).duration_s == CLIP_S
        await again.task
        assert set(again.timings_s) == {"waiting", "clip", "sound_queue", "audio"}
        assert (gauge("riffusion_live_jobs"), gauge("riffusion_waiting_jobs")) == (0, 0)

    asyncio.run(scenario())
    assert unet.num_calls == 4


def test_a_deadline(generator: UnconditionalGenerator, unet: HeldUNet) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        with pytest.raises(DeadlineExceededError, match=r"deadline_s=0\.5"):
            job = await service.submit(request(deadline_s=0.5))
            await asyncio.sleep(0.6)
            unet.released.set()
            await job.result(lambda: False)
        unet.released.set()
        again = await service.submit(request())
        assert (await again.result(lambda: False)).duration_s == CLIP_S

    asyncio.run(scenario())
    assert unet.num_calls <= 1 + 3  # a step of the first clip at most, and the second one's


def test_failures_make_the_service_unhealthy_and_a_hang_too(
    generator: UnconditionalGenerator, unet: HeldUNet
) -> None:
    now_s = 0.0
    unet.failure = RuntimeError("GPU lost")

    async def scenario() -> None:
        nonlocal now_s
        service = ClipService(generator)
        service._maker._watchdog._clock = lambda: now_s  # type: ignore[attr-defined]
        hanging = await service.submit(request())
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        assert service.is_healthy
        now_s = 1e5
        assert not service.is_healthy
        unet.released.set()
        with pytest.raises(RuntimeError, match="GPU lost"):
            await hanging.result(lambda: False)
        service = ClipService(generator)
        for _ in range(MAX_FAILURES_IN_A_ROW):
            assert service.is_healthy
            job = await service.submit(request())
            with pytest.raises(RuntimeError, match="GPU lost"):
                await job.result(lambda: False)
        assert not service.is_healthy
        unet.failure = None
        await (await service.submit(request())).result(lambda: False)
        assert service.is_healthy

    asyncio.run(scenario())


def test_pixels_that_are_not_finite_are_an_error(
    generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(sample: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        return (sample * float("nan"),)

    monkeypatch.setattr(generator.sampler._unet, "forward", broken)
    with pytest.raises(GenerationError, match="not finite"):
        answer(generator, request())
