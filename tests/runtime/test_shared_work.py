"""Work that threads share: all of it is done once, whoever does it, and errors arrive."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from riffusion.runtime import shared_work
from riffusion.runtime.shared_work import share, together


@pytest.fixture(params=[0, 1, 3])
def num_others(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    pool = ThreadPoolExecutor(max(1, request.param))
    monkeypatch.setattr(shared_work, "_other_threads", lambda: (pool, request.param))
    return int(request.param)


def test_each_task_runs_once(num_others: int) -> None:
    done: list[int] = []
    share(partial(done.append, number) for number in range(1000))
    assert sorted(done) == list(range(1000))
    share([])


def test_two_functions_meet_if_there_is_another_thread(num_others: int) -> None:
    if num_others == 0:
        here = threading.current_thread()
        assert together(threading.current_thread, threading.current_thread) == (here, here)
        return
    both = threading.Barrier(2)  # each waits for the other
    first, second = together(lambda: both.wait(30), lambda: both.wait(30))
    assert {first, second} == {0, 1}


def test_together_inside_a_shared_task_does_not_wait_for_its_own_thread(num_others: int) -> None:
    found: list[tuple[int, str]] = []
    share([lambda: found.append(together(lambda: 1, lambda: "a"))] * 8)
    assert found == [(1, "a")] * 8


def test_the_error_of_a_task_is_raised_after_all_have_ended(num_others: int) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together(fail, lambda: 1)
    with pytest.raises(ValueError, match="no"):
        together(lambda: 1, fail)
    assert together(lambda: 1, lambda: 2) == (1, 2)
