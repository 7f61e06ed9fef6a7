"""A server that ends is started again, with pauses, and not for ever."""

import threading
from collections.abc import Iterator

import pytest

from riffusion.errors import ServerError
from riffusion.serving.local import supervisor
from riffusion.serving.local.supervisor import MAX_FAILURES, Supervisor
from tests.patience import wait_until


class Puppet:
    """A server that ends when a test says so; `restarts` says whether each restart works."""

    name = "the puppet"

    def __init__(self, restarts: Iterator[bool]) -> None:
        self._restarts = restarts
        self.calls: list[str] = []
        self.has_ended = threading.Event()

    def start(self) -> None:
        self.calls.append("start")

    def restart(self) -> None:
        self.calls.append("restart")
        if not next(self._restarts):
            raise ServerError("the puppet ended with exit status 1; the end of its log:\nno")
        self.has_ended.clear()

    def check(self) -> None:
        if self.has_ended.is_set():
            raise ServerError("the puppet ended with exit status 1; the end of its log:\nno")

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_POLL_S", 0.001)
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_S", 0.002)


def test_a_server_that_ends_is_started_again() -> None:
    puppet = Puppet(iter([False, True, True]))
    with Supervisor(puppet) as watched:
        for count in (1, 2):
            puppet.has_ended.set()
            wait_until(lambda: watched.num_restarts == count, "not started again")  # noqa: B023
            watched.check()
    assert puppet.calls == ["start", "restart", "restart", "restart", "stop"]


def test_a_server_that_keeps_ending_is_an_error() -> None:
    puppet = Puppet(iter([False] * 100))
    with Supervisor(puppet) as watched:
        puppet.has_ended.set()
        wait_until(lambda: watched._failure is not None, "it is started for ever")
        with pytest.raises(ServerError, match="exit status 1"):
            watched.check()
    assert puppet.calls.count("restart") == MAX_FAILURES


def test_a_server_that_ends_right_after_each_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    puppet = Puppet(iter([True] * 100))
    monkeypatch.setattr(puppet.has_ended, "clear", lambda: None)
    with Supervisor(puppet) as watched:
        puppet.has_ended.set()
        wait_until(lambda: watched._failure is not None, "it is started for ever")
    assert puppet.calls.count("restart") == MAX_FAILURES


def test_failures_are_forgotten_once_a_server_has_run_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "_STABLE_S", -1.0)
    puppet = Puppet(iter([True] * 3 * MAX_FAILURES))
    with Supervisor(puppet) as watched:
        for count in range(1, 3 * MAX_FAILURES + 1):
            puppet.has_ended.set()
            wait_until(lambda: watched.num_restarts == count, "not started again")  # noqa: B023
        watched.check()


def test_a_first_start_that_fails_is_not_repeated() -> None:
    class Broken(Puppet):
        def start(self) -> None:
            super().start()
            raise ServerError("no")

    puppet = Broken(iter([]))
    with pytest.raises(ServerError, match="no"), Supervisor(puppet):
        pass
    assert puppet.calls == ["start"]


def test_stopping_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE_S", 1e6)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_S", 1e6)
    puppet = Puppet(iter([]))
    with Supervisor(puppet):
        puppet.has_ended.set()
    assert puppet.calls == ["start", "stop"]
