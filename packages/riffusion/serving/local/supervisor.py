"""Starts a server again when it ends by itself, with longer and longer pauses if it keeps ending.

running ──ended──▶ pause ─▶ restart ──ready──▶ running
                     ▲         │ ended, or not ready in time
                     └─────────┘ after `MAX_FAILURES` of them in a row: ServerError
"""

import logging
import threading
import time
from types import TracebackType
from typing import Protocol, Self

from riffusion.errors import ServerError

logger = logging.getLogger(__name__)

MAX_FAILURES = 6
"""Starts in a row after which the server ended within `_STABLE_S`, or was never ready."""
_STABLE_S = 10.0
_POLL_S = 0.1
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0


class Server(Protocol):
    """What a supervisor needs of a server; `ChildServer` has it."""

    name: str

    def start(self) -> None: ...
    def restart(self) -> None: ...
    def check(self) -> None: ...
    def stop(self) -> None: ...


class Supervisor:
    """Keeps a server running, on a thread; as a context manager it starts and stops it.

    Args:
        server: not started yet. A first start that fails is an error, and isn't repeated.

    Attributes:
        num_restarts: restarts after which the server was ready again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._failure: ServerError | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.num_restarts = 0

    def check(self) -> None:
        """Raise `ServerError` if the server could not be kept running."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self._server.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._server.stop()
        self._thread.join()

    def _watch(self) -> None:
        failures = 0
        ready_s = time.monotonic()
        while not self._stopping.wait(_POLL_S):
            try:
                self._server.check()
                continue
            except ServerError as error:
                ended = error
            failures = 1 if time.monotonic() - ready_s > _STABLE_S else failures + 1
            while not self._is_restarted(ended, failures):
                if self._stopping.is_set():
                    return
                failures += 1
                if failures > MAX_FAILURES:
                    self._failure = ended
                    return
            ready_s = time.monotonic()

    def _is_restarted(self, ended: ServerError, failures: int) -> bool:
        if failures > MAX_FAILURES:
            return False
        pause_s = min(_FIRST_PAUSE_S * 3 ** (failures - 1), _LONGEST_PAUSE_S)
        first_line = str(ended).partition("\n")[0].removesuffix("; the end of its log:")
        logger.warning("%s; it is started again in %g s", first_line, pause_s)
        if self._stopping.wait(pause_s):
            return False
        started = time.monotonic()
        try:
            self._server.restart()
        except ServerError as error:
            if not self._stopping.is_set():
                logger.warning("%s", str(error).partition("\n")[0])
            return False
        self.num_restarts += 1
        logger.warning("%s runs again after %.1f s", self._server.name, time.monotonic() - started)
        return True
