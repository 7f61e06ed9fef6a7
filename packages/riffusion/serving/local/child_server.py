"""A web server in a process of its own: started, watched and stopped by this one.

The child holds a pipe as its standard input. It closes when this process ends, however that
happens, and then the child stops, too. What it prints is this process' log.
"""

import collections
import http.client
import logging
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from riffusion.errors import ServerError
from riffusion.serving.addresses import bound_socket, local_url

logger = logging.getLogger(__name__)

_TAIL_LINES = 40
_POLL_S = 0.1


class ChildServer(ABC):
    """A server as a child process; as a context manager it runs inside and is stopped after.

    Args:
        name: of the server, for messages.
        host, port: address to listen on.
        port_option: name of the option that sets the port, for messages.
        ready_path: path that is answered with 200 when the server is ready.
        on_log_line: called with every line that the server logs, on another thread.
        startup_timeout_s: limit for a start.
        stop_timeout_s: limit for finishing the requests in progress when the server is stopped.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        port_option: str,
        ready_path: str,
        on_log_line: Callable[[str], None] | None,
        startup_timeout_s: float,
        stop_timeout_s: float,
    ) -> None:
        self.name = name
        self._host = host
        self._port = port
        self._port_option = port_option
        self._ready_path = ready_path
        self._on_log_line = on_log_line or logger.info
        self._startup_timeout_s = startup_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._log_pump: threading.Thread | None = None
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._spawning = threading.Lock()
        self._is_stopped = False

    @property
    def base_url(self) -> str:
        """URL for clients on this machine."""
        return local_url(self._host, self._port)

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs, else None."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the server and wait until it is ready.

        Raises:
            ServerError: the port is in use, or the server ended or did not get ready in time; the
                message has the end of its log.
        """
        deadline = time.monotonic() + self._startup_timeout_s
        self._is_stopped = False
        bound_socket(self._host, self._port, self._port_option).close()
        try:
            self._prepare()
            self._launch()
            self._wait_until_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Start the server again after it has ended, and wait until it is ready.

        Raises:
            ServerError: as `start`; or it can't be started, or `stop` was called meanwhile.
        """
        deadline = time.monotonic() + self._startup_timeout_s
        process = self._process
        if process is not None:
            self._end(process)
        try:
            self._launch()
        except OSError as error:  # such as a full disk
            raise ServerError(f"{self.name} can't be started: {error}") from error
        self._wait_until_ready(deadline)

    def check(self) -> None:
        """Raise `ServerError` if the server has ended."""
        process = self._process
        if process is not None and process.poll() is not None:
            raise ServerError(self._death_message(process.returncode))

    def stop(self) -> None:
        """Stop the server; requests in progress finish first, within `stop_timeout_s`."""
        with self._spawning:
            self._is_stopped = True
            process, self._process = self._process, None
        try:
            if process is not None:
                self._end(process)
        finally:
            self._clean_up()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what every start needs; `_clean_up` removes it."""

    @abstractmethod
    def _command(self) -> tuple[Sequence[str], Path | None, Mapping[str, str] | None, str]:
        """Command line, working directory, environment, and text for the standard input."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Remove what `_prepare` made."""

    def _launch(self) -> None:
        command, directory, environment, text = self._command()
        with self._spawning:
            if self._is_stopped:
                raise ServerError(f"{self.name} was stopped")
            process = self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C goes to this process only, which stops the server
            )
        assert process.stdout is not None  # for the type checker: they are pipes
        assert process.stdin is not None
        self._log_pump = threading.Thread(
            target=self._pump_log, args=(process.stdout,), daemon=True
        )
        self._log_pump.start()
        try:
            process.stdin.write(text)
            process.stdin.flush()
        except OSError as error:
            raise ServerError(f"{self.name} ended at once") from error

    def _pump_log(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._tail.append(line.rstrip("\n"))
                self._on_log_line(line.rstrip("\n"))

    def _wait_until_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self.check()
            if self._is_stopped:
                raise ServerError(f"{self.name} was stopped")
            if self._is_ready():
                return
            time.sleep(_POLL_S)
        raise ServerError(
            f"{self.name} was not ready after {self._startup_timeout_s:g} s; "
            f"the end of its log:\n{self._log_tail()}"
        )

    def _is_ready(self) -> bool:
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2.0)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False  # the server is not listening yet
        finally:
            connection.close()

    def _end(self, process: subprocess.Popen[str]) -> None:
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(self._stop_timeout_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            logger.warning("%s did not stop in time and is killed", self.name)
            process.kill()
            process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if self._log_pump is not None:
                self._log_pump.join(5.0)

    def _death_message(self, code: int) -> str:
        if self._log_pump is not None:
            self._log_pump.join(1.0)
        return f"{self.name} ended with exit status {code}; the end of its log:\n{self._log_tail()}"

    def _log_tail(self) -> str:
        return "\n".join(self._tail)
