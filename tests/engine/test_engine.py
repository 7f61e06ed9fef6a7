"""The engine's thread: it closes, warms up, survives defects, and says whether it is healthy."""

import threading
from typing import Any

import pytest
import torch
from threadpoolctl import ThreadpoolController

from riffusion.diffusion import RiffusionPipeline
from riffusion.engine import Engine
from riffusion.engine.engine import EngineStep
from riffusion.errors import GenerationError
from tests.engine.engine_requests import IMAGE, TIMEOUT_S, blocked, request


def test_an_error_in_on_step_is_ignored(pipeline: RiffusionPipeline) -> None:
    def on_step(step: EngineStep) -> None:
        raise RuntimeError("observer")

    engine = Engine(pipeline, on_step=on_step)
    engine.submit(request(steps=2), IMAGE).image.result(TIMEOUT_S)
    engine.close()


def test_a_bug_in_the_engine_fails_the_running_requests_and_the_loop_continues(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "relative_length", lambda shape: 1 / 0)
        handles = [engine.submit(request(), IMAGE) for _ in range(2)]
        for handle in handles:
            with pytest.raises(GenerationError, match="the model failed on this clip: division"):
                handle.image.result(TIMEOUT_S)
    assert engine.submit(request(), IMAGE).image.result(TIMEOUT_S).size == IMAGE.size


def test_a_closed_engine_refuses_requests(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    engine.close()
    engine.close()
    with pytest.raises(GenerationError, match="closed"):
        engine.submit(request(), IMAGE)


def test_closing_completes_submitted_requests(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    handles = [engine.submit(request(steps=2, seed=s), IMAGE) for s in range(3)]
    engine.close()
    assert all(handle.image.done() for handle in handles)


def test_the_engine_warms_up_in_its_own_thread(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    monkeypatch.setattr(
        pipeline, "warm_up", lambda: threads.append(threading.current_thread().name)
    )
    engine.warm_up()
    monkeypatch.setattr(pipeline, "warm_up", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.warm_up()
    engine.submit(request(steps=1), IMAGE).image.result(TIMEOUT_S)
    assert threads == ["engine"]


@pytest.mark.parametrize("is_cuda", [False, True])
def test_beside_a_gpu_the_engine_has_no_openmp_team(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, is_cuda: bool
) -> None:
    sizes: list[int] = []

    def look() -> None:
        libraries = ThreadpoolController().select(user_api="openmp").info()
        sizes.extend(library["num_threads"] for library in libraries)

    monkeypatch.setattr(pipeline, "warm_up", look)
    if is_cuda:
        monkeypatch.setattr(type(pipeline), "device", torch.device("cuda"))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine = Engine(pipeline)
        engine.warm_up()
        engine.close()
    finally:
        torch.set_num_threads(before)
    assert sizes
    assert all(size == 1 for size in sizes) == is_cuda


@pytest.mark.parametrize("stage", ["prepare", "predict", "decode"])
def test_an_engine_that_hangs_is_unhealthy(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    now_s = 0.0
    began, release = threading.Event(), threading.Event()
    call = getattr(pipeline, stage)

    def held(*args: Any, **options: Any) -> Any:
        began.set()
        release.wait(TIMEOUT_S)
        return call(*args, **options)

    engine = Engine(pipeline, clock=lambda: now_s)
    engine.submit(request(steps=1, denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    now_s += 1e6
    assert engine.is_healthy  # it is idle
    monkeypatch.setattr(pipeline, stage, held)
    handle = engine.submit(request(steps=1, denoising=1.0), IMAGE)
    assert began.wait(TIMEOUT_S)
    assert engine.is_healthy
    now_s += 1e6
    assert not engine.is_healthy
    release.set()
    handle.image.result(TIMEOUT_S)
    assert engine.is_healthy
    engine.close()


@pytest.mark.parametrize("death", [SystemExit(3), KeyboardInterrupt()])
def test_an_engine_whose_thread_dies_fails_its_requests_and_is_unhealthy(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, death: BaseException
) -> None:
    engine = Engine(pipeline, max_num_running=1)
    release = blocked(engine)

    def die(*_: Any) -> Any:
        raise death

    monkeypatch.setattr(pipeline, "predict", die)
    handles = [engine.submit(request(), IMAGE) for _ in range(3)]
    assert engine.is_healthy
    release.set()
    for handle in handles:
        with pytest.raises(GenerationError, match=f"died of {type(death).__name__}; restart"):
            handle.image.result(TIMEOUT_S)
    assert not engine.is_healthy
    with pytest.raises(GenerationError, match="died"):
        engine.submit(request(), IMAGE)
    with pytest.raises(GenerationError, match="died"):
        engine.warm_up()
    engine.close()
