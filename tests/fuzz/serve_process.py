"""`riffusion serve` as a process of its own, on free ports, with its log in a file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from riffusion.serving.addresses import READY_PATH
from tests.serving.conftest import free_port

START_S = 180.0
STOP_S = 300.0
"""Longer than both servers together may take for the requests in progress."""


class ServeProcess:
    """Both servers of this repository's bundle; as a context manager they run inside.

    Args:
        log: file that the process' output is appended to.
        options: further options of `riffusion serve`.
        environment: variables that override this process'.
        prefix: command that runs the command line behind it, without a process in between.

    Attributes:
        had_to_be_killed: whether SIGTERM didn't end it within `STOP_S`.
    """

    def __init__(
        self,
        log: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._log = log
        self._options = options
        self._environment = dict(environment or {})
        self._prefix = prefix
        self.had_to_be_killed = False
        self.truss_url = f"http://127.0.0.1:{free_port()}"
        self.gateway_url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        ports = [url.rpartition(":")[2] for url in (self.truss_url, self.gateway_url)]
        python = [sys.executable, "-m", "riffusion", "serve", "--port", ports[0]]
        command = [*self._prefix, *python]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--gateway-port", ports[1], *self._options],
                env={**os.environ, **self._environment},
                cwd=Path(__file__).parents[2],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"riffusion serve did not start; see {self._log}")
            time.sleep(0.2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.had_to_be_killed = True
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Id of the process that supervises both servers."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process that supervises both servers runs."""
        return self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether the model is loaded, as the Truss server says, and the gateway too.

        The gateway alone may still say so for a second after the Truss server has ended.
        """
        urls = (f"{self.truss_url}{READY_PATH}", f"{self.gateway_url}/health")
        try:
            return all(httpx.get(url, timeout=5, trust_env=False).is_success for url in urls)
        except httpx.HTTPError:
            return False

    def processes(self) -> list[psutil.Process]:
        """The process and all that it has started."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def log_text(self) -> str:
        """All that was logged."""
        return self._log.read_text(errors="replace")
