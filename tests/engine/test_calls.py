"""Calls that run out of memory, and how long work may take, without a model."""

import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from riffusion.engine.calls import SUCCESSES_BEFORE_MORE, BatchCalls
from riffusion.engine.watchdog import Watchdog
from riffusion.runtime.memory import is_out_of_memory


class NumberedPipeline:
    """Jobs without a model; a call holds `activations` and runs out of memory above a limit."""

    device = torch.device("cpu")

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.sizes: list[int] = []
        self.still_held: list[int] = []
        self._activations: list[weakref.ref[torch.Tensor]] = []

    def call(self, jobs: Sequence[Any]) -> list[int]:
        self.sizes.append(len(jobs))
        self.still_held.append(sum(held() is not None for held in self._activations))
        activations = torch.zeros(1000)
        self._activations.append(weakref.ref(activations))
        if len(jobs) > self.largest:
            try:
                self._run_out()
            except torch.OutOfMemoryError as error:
                raise RuntimeError("the UNet failed") from error
        return [0] * len(jobs)

    def _run_out(self) -> None:
        more = torch.zeros(1000)
        self._activations.append(weakref.ref(more))
        raise torch.OutOfMemoryError("CUDA out of memory")


def numbered_calls(max_jobs: int | None = None) -> tuple[BatchCalls[Any, Any], list[Exception]]:
    failures: list[Exception] = []
    calls = BatchCalls[Any, Any](lambda job: job, lambda _, error: failures.append(error), max_jobs)
    return calls, failures


def numbered_jobs(count: int) -> list[Any]:
    return [SimpleNamespace(shape=torch.Size([1, 4, 8, 8])) for _ in range(count)]


def test_halves_are_tried_after_the_failed_call_has_released_its_memory() -> None:
    model = NumberedPipeline(largest=1)
    calls, failures = numbered_calls()
    jobs = numbered_jobs(8)
    assert [job for job, _ in calls.run(jobs, model.call)] == jobs
    assert model.still_held == [0] * len(model.sizes)
    assert failures == []


def test_a_failed_request_holds_no_memory_of_its_call() -> None:
    model = NumberedPipeline(largest=0)
    calls, failures = numbered_calls()
    assert calls.run(numbered_jobs(1), model.call) == []
    assert is_out_of_memory(failures[0])
    assert [held() for held in model._activations] == [None, None]


def test_a_limit_rises_again_after_many_successes() -> None:
    model = NumberedPipeline(largest=2)
    calls, _ = numbered_calls()
    shape = numbered_jobs(1)[0].shape
    assert calls.max_jobs(shape) is None
    calls.run(numbered_jobs(8), model.call)
    assert calls.max_jobs(shape) == 2
    model.largest = 8  # memory is free again
    for _ in range(3 * SUCCESSES_BEFORE_MORE):
        calls.run(numbered_jobs(8)[: calls.max_jobs(shape)], model.call)
    assert (calls.max_jobs(shape) or 8) >= 8
    assert calls.max_jobs(torch.Size([1, 4, 8, 16])) is None  # another shape


def test_a_gpu_is_called_hanging_sooner_than_a_cpu_but_never_within_a_usual_time() -> None:
    now_s = 0.0
    watchdogs = {kind: Watchdog(lambda: now_s, kind) for kind in ("cpu", "cuda")}
    for kind, longest_s, allowed_s, hang_s in (("cuda", 0.3, 59, 61), ("cpu", 0.3, 1799, 1801)):
        with watchdogs[kind].watching():
            now_s += longest_s
        with watchdogs[kind].watching():
            now_s += allowed_s
            assert not watchdogs[kind].is_hanging
            now_s += hang_s - allowed_s
            assert watchdogs[kind].is_hanging
        with watchdogs[kind].watching():  # so long is usual now
            now_s += 10 * hang_s
            assert not watchdogs[kind].is_hanging
