"""The real Truss inference server on this machine, without Docker.

`bundle_context` arranges the server's code and the bundle's model and data as in the image; the
server runs there as a child process.
"""

import compileall
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from riffusion.runtime.gpu import REQUIRE_GPU
from riffusion.serving.addresses import DEFAULT_HOST, DEFAULT_PORT, PREDICT_PATH, READY_PATH
from riffusion.serving.local.bundle_context import build_context, find_bundle, read_config
from riffusion.serving.local.child_server import ChildServer
from riffusion.serving.local.installed_bundle import complete_bundle

__all__ = ["DIRECTORY_PREFIX", "LocalTrussServer", "find_bundle", "read_config"]

DIRECTORY_PREFIX = "riffusion-server-"
_PACKAGES_DIR = Path(__file__).parents[3]
"""Directory that holds this package."""


class LocalTrussServer(ChildServer):
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
        super().__init__(
            "the Truss server",
            host,
            port,
            "port",
            READY_PATH,
            on_log_line,
            startup_timeout_s,
            stop_timeout_s,
        )
        self._bundle_dir = bundle_dir
        self._environment = dict(environment or {})
        self._directory: Path | None = None
        self._config: Any = None

    @property
    def predict_url(self) -> str:
        """URL that requests are posted to."""
        return self.base_url + PREDICT_PATH

    def _prepare(self) -> None:
        bundle_dir = self._bundle_dir or find_bundle()
        self._directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        checkpoint = self._environment.get("RIFFUSION_CHECKPOINT")
        bundle_dir = complete_bundle(bundle_dir, self._directory, checkpoint)
        self._config = build_context(bundle_dir, self._directory)
        # Else each start compiles the code, where Python is told to write no bytecode.
        compileall.compile_dir(self._directory, quiet=2)

    def _command(self) -> tuple[Sequence[str], Path | None, Mapping[str, str] | None, str]:
        directory = self._directory
        assert directory is not None  # `_prepare` has made it
        home = directory / "home"  # the server writes a crash marker into its home
        shutil.rmtree(home, ignore_errors=True)  # a marker would end the next start
        home.mkdir()
        environment = {
            "DISABLE_JSON_LOGGING": "1",
            **self._config.environment_variables,
            REQUIRE_GPU: "0",  # the bundle's rule is for GPU hosts; a laptop serves from its CPU
            **os.environ,
            **self._environment,
            "HOME": str(home),
            "HF_HOME": os.environ.get("HF_HOME", str(Path.home() / ".cache/huggingface")),
            # librosa compiled takes long to make, and is kept from one server to the next
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "PYTHONPATH": os.pathsep.join(
                # the bundle's packages, and this one for a bundle that has none
                map(str, (directory / "context" / self._config.bundled_packages_dir, _PACKAGES_DIR))
            ),
            "PYTHONUNBUFFERED": "1",
        }
        module = "riffusion.serving.local.truss_launcher"
        command = [sys.executable, "-m", module, self._host, str(self._port)]
        return command, directory / "app", environment, ""

    def _clean_up(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
