"""The gateway in a process of its own, so that `riffusion serve` can start it again.

    serve ─▶ GatewayProcess ── settings as JSON on standard input ─▶ main() ─▶ GatewayServer

Standard input stays open. If it ends, the parent has ended, and so does the gateway.
"""

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.local.child_server import ChildServer
from riffusion.serving.local.gateway_server import GatewayServer
from riffusion.serving.local.signals import interrupted_by_sigterm
from riffusion.serving.request_log import JsonFormatter

_POLL_S = 0.2
_STARTUP_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 150.0
"""Longer than the gateway's own limit for requests in progress."""
_PACKAGES_DIR = Path(__file__).parents[3]


@dataclasses.dataclass(frozen=True)
class GatewaySettings:
    """What `riffusion serve` knows about its gateway; the names are those of `serve`.

    Attributes:
        checkpoint_dir: folder of the checkpoint, whose seed images go before the package's.
    """

    host: str
    port: int
    endpoint: str
    timeout_s: float
    retry_budget_s: float
    allowed_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    app_dir: str | None
    checkpoint_dir: str | None
    max_per_minute: int
    max_at_once: int
    log_as_json: bool = False


class GatewayProcess(ChildServer):
    """A gateway as a child process; as a context manager it runs inside.

    Args:
        settings: of the gateway; they are valid.
        on_log_line: called with every line that it logs, on another thread.
    """

    def __init__(
        self, settings: GatewaySettings, on_log_line: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(
            "the gateway",
            settings.host,
            settings.port,
            "gateway_port",
            "/docs",
            on_log_line,
            _STARTUP_TIMEOUT_S,
            _STOP_TIMEOUT_S,
        )
        self._settings = settings

    def _prepare(self) -> None:
        pass

    def _command(self) -> tuple[Sequence[str], Path | None, Mapping[str, str] | None, str]:
        paths = [str(_PACKAGES_DIR), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "riffusion.serving.local.gateway_process"]
        return command, None, environment, json.dumps(dataclasses.asdict(self._settings)) + "\n"

    def _clean_up(self) -> None:
        pass


def run(settings: GatewaySettings) -> None:
    """Run the gateway until SIGTERM; requests in progress are finished first.

    Raises:
        ServerError: it could not be started, or has ended by itself.
    """
    endpoint = Endpoint(
        settings.endpoint,
        timeout_s=settings.timeout_s,
        retry_budget_s=settings.retry_budget_s,
    )
    directory = settings.checkpoint_dir
    app = create_gateway(
        endpoint,
        settings.allowed_origins,
        None if settings.app_dir is None else Path(settings.app_dir),
        SeedLibrary.default(None if directory is None else Path(directory)),
        ClientLimits(settings.max_per_minute, settings.max_at_once),
    )
    gateway = GatewayServer(app, settings.host, settings.port, settings.trusted_proxies)
    with interrupted_by_sigterm():
        try:
            with gateway:
                while True:
                    time.sleep(_POLL_S)
                    gateway.check()
        except KeyboardInterrupt:
            return


def main() -> None:
    """Run with the settings from standard input."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("riffusion").setLevel(logging.INFO)
    values = json.loads(sys.stdin.readline())
    if values["log_as_json"]:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    run(GatewaySettings(**values))


def _stop_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
