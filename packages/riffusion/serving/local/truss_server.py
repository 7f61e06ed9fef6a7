"""The real Truss inference server on this machine, without Docker.

`bundle_context` arranges the server's code and the bundle's model and data as in the image; the
server runs there as a child process.
"""

import collections
import http.client
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

from riffusion.errors import ServerError
from riffusion.runtime.gpu import REQUIRE_GPU
from riffusion.serving.addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    PREDICT_PATH,
    READY_PATH,
    bound_socket,
    local_url,
)
from riffusion.serving.local.bundle_context import build_context, find_bundle, read_config
from riffusion.serving.local.installed_bundle import complete_bundle

__all__ = ["DIRECTORY_PREFIX", "LocalTrussServer", "find_bundle", "read_config"]

logger = logging.getLogger(__name__)

DIRECTORY_PREFIX = "riffusion-server-"
_PACKAGES_DIR = Path(__file__).parents[3]
"""Directory that holds this package."""
_TAIL_LINES = 40
_POLL_S = 0.1


class LocalTrussServer:
    """A Truss server as a child process; as a context manager it runs inside and is stopped after.

    Args:
        bundle_dir: directory of the bundle; default: the result of `find_bundle`.
        host: address to listen on. The default is reachable from this machine only.
        port: TCP port; it must be free.
        environment: variables for the server; they override this process' and the bundle's.
        on_log_line: called with every line that the server logs, on another thread.
        startup_timeout_s: limit for building the context and loading the model.
        stop_timeout_s: limit for finishing the requests in progress when the server is stopped.
    """

    def __init__(
        self,
        bundle_dir: Path | None = None,
        *,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        environment: Mapping[str, str] | None = None,
        on_log_line: Callable[[str], None] | None = None,
        startup_timeout_s: float = 900.0,
        stop_timeout_s: float = 120.0,
    ) -> None:
        self._bundle_dir = bundle_dir
        self._host = host
        self._port = port
        self._environment = dict(environment or {})
        self._on_log_line = on_log_line or logger.info
        self._startup_timeout_s = startup_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._directory: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._log_pump: threading.Thread | None = None
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)

    @property
    def base_url(self) -> str:
        """URL for clients on this machine."""
        return local_url(self._host, self._port)

    @property
    def predict_url(self) -> str:
        """URL that requests are posted to."""
        return self.base_url + PREDICT_PATH

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs, else None."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the server and wait until its model is loaded.

        Raises:
            ServerError: the port is in use, the bundle is broken, or the server ended or did not
                get ready in time; the message has the end of its log.
        """
        deadline = time.monotonic() + self._startup_timeout_s
        bound_socket(self._host, self._port, "port").close()
        bundle_dir = self._bundle_dir or find_bundle()
        try:
            self._directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
            checkpoint = self._environment.get("RIFFUSION_CHECKPOINT")
            bundle_dir = complete_bundle(bundle_dir, self._directory, checkpoint)
            config = build_context(bundle_dir, self._directory)
            self._spawn(self._directory, config)
            self._wait_until_ready(deadline)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise `ServerError` if the server has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(self._death_message())

    def stop(self) -> None:
        """Stop the server; requests in progress finish first, within `stop_timeout_s`."""
        process, self._process = self._process, None
        try:
            if process is not None:
                self._end(process)
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = None

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

    def _spawn(self, directory: Path, config: Any) -> None:
        app = directory / "app"
        home = directory / "home"  # the server writes a crash marker into its home
        home.mkdir()
        environment = {
            "DISABLE_JSON_LOGGING": "1",
            **config.environment_variables,
            REQUIRE_GPU: "0",  # the bundle's rule is for GPU hosts; a laptop serves from its CPU
            **os.environ,
            **self._environment,
            "HOME": str(home),
            "HF_HOME": os.environ.get("HF_HOME", str(Path.home() / ".cache/huggingface")),
            # librosa compiled takes long to make, and is kept from one server to the next
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "PYTHONPATH": os.pathsep.join(
                # the bundle's packages, and this one for a bundle that has none
                map(str, (directory / "context" / config.bundled_packages_dir, _PACKAGES_DIR))
            ),
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "riffusion.serving.local.truss_launcher",
                self._host,
                str(self._port),
            ],
            cwd=app,
            env=environment,
            stdin=subprocess.PIPE,  # closes when this process ends; then the server ends too
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C goes to this process only, which then stops the server
        )
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        self._log_pump = threading.Thread(
            target=self._pump_log, args=(self._process.stdout,), daemon=True
        )
        self._log_pump.start()

    def _pump_log(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._tail.append(line.rstrip("\n"))
                self._on_log_line(line.rstrip("\n"))

    def _wait_until_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self.check()
            if self._is_ready():
                return
            time.sleep(_POLL_S)
        raise ServerError(
            f"the Truss server was not ready after {self._startup_timeout_s:g} s; "
            f"the end of its log:\n{self._log_tail()}"
        )

    def _is_ready(self) -> bool:
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2.0)
        try:
            connection.request("GET", READY_PATH)
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
            logger.warning("the Truss server did not stop in time and is killed")
            process.kill()
            process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()
            if self._log_pump is not None:
                self._log_pump.join(5.0)

    def _death_message(self) -> str:
        if self._log_pump is not None:
            self._log_pump.join(1.0)
        code = self._process.returncode if self._process is not None else None
        return (
            f"the Truss server ended with exit status {code}; "
            f"the end of its log:\n{self._log_tail()}"
        )

    def _log_tail(self) -> str:
        return "\n".join(self._tail)
