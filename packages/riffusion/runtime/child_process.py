"""A Python module that runs in a process of its own and answers messages, for dangerous work.

The process is a new one, not a fork: a fork of a process with threads, or one that uses a GPU, can
hang. It reads messages from its standard input and writes answers to its standard output. It ends
when its input ends, so it never outlives its parent, however that one ends.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from riffusion.errors import ServerError
from riffusion.runtime.messages import Message, receive, send

_START_LIMIT_S = 120.0
"""A start takes less than a second on an idle machine."""
_EXIT_S = 5.0
_VARIABLES = ("PATH", "LANG", "HOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
_PREFIXES = ("PYTHON", "LC_", "LD_", "DYLD_")
"""What Python needs of the environment. The rest stays here, as it may hold passwords."""


class ChildProcess:
    """One process. It may be used by one thread at a time; `close` may be called by any thread.

    Args:
        module: runs as `__main__`, sends one message when it is ready, and then an answer to each
            message.
        arguments: its command line.
        max_answer_bytes: largest answer.

    Raises:
        ServerError: the system can't start a process.
    """

    def __init__(self, module: str, arguments: Sequence[str], max_answer_bytes: int) -> None:
        self._module = module
        self._max_answer_bytes = max_answer_bytes
        self._is_ready = False
        self._is_late = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the parent
            )
        except OSError as error:
            raise ServerError(f"the process {module} doesn't start ({error})") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait for the start, at the first call.

        Raises:
            ServerError: the process doesn't start.
        """
        if self._is_ready:
            return
        try:
            self._exchange(None, _START_LIMIT_S)
        except (EOFError, TimeoutError) as error:
            raise ServerError(
                f"the process {self._module} doesn't start ({error}); the log has the reason"
            ) from error
        self._is_ready = True

    def ask(self, message: Message, time_limit_s: float) -> Message:
        """Send a message and wait for its answer. If this raises, the process has ended.

        Raises:
            ServerError: the process doesn't start.
            TimeoutError: no answer within the limit, counted from the end of the start.
            EOFError: the process ended; the exception's text says how.
        """
        self.wait_until_ready()
        return self._exchange(message, time_limit_s)

    def close(self) -> None:
        """End the process at once."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was buffered for the process is lost
                assert stream is not None
                stream.close()

    def _exchange(self, message: Message | None, time_limit_s: float) -> Message:
        # Pipes have no time limits that work on every system. Ending the process ends the waiting.
        timer = threading.Timer(time_limit_s, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            if message is not None:
                send(_opened(self._process.stdin), message)
            return receive(_opened(self._process.stdout), self._max_answer_bytes)
        except (OSError, EOFError, ValueError) as error:
            how = self._end(error)
            if self._is_late:
                raise TimeoutError(f"no answer within {time_limit_s:g} s") from None
            raise EOFError(how) from error
        finally:
            timer.cancel()
            timer.join()  # from here on it ends nothing

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _end(self, error: Exception) -> str:
        """End the process, after `error`. Returns how it ended."""
        if not isinstance(error, ValueError):  # it is about to end by itself
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)
        if self.is_alive:
            self.close()
            return str(error) or "its output was closed"
        self.close()
        code = self._process.returncode
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"exit status {code}"


def _opened(stream: object) -> BinaryIO:
    assert stream is not None  # pipes
    return stream  # type: ignore[return-value] # typeshed: IO[bytes]


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _VARIABLES or name.upper().startswith(_PREFIXES)
    }
    path = os.pathsep.join(folder for folder in sys.path if folder)
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
