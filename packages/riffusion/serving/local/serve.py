"""`riffusion serve`: runs the Truss server and the gateway, keeps them running, and stops them."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from riffusion.errors import InputError, ServerError
from riffusion.generation.lora_folder import LORA_FOLDER
from riffusion.serving.addresses import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    RUN_INFERENCE_PATH,
    networks_of,
)
from riffusion.serving.client import DEFAULT_RETRY_BUDGET_S, DEFAULT_TIMEOUT_S, Endpoint
from riffusion.serving.gateway.app import DEFAULT_PORT as DEFAULT_GATEWAY_PORT
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.gateway.origins import AllowedOrigins
from riffusion.serving.local.gateway_process import GatewayProcess, GatewaySettings
from riffusion.serving.local.signals import interrupted_by_sigterm
from riffusion.serving.local.supervisor import Supervisor
from riffusion.serving.local.truss_server import LocalTrussServer

logger = logging.getLogger(__name__)

_POLL_S = 0.2


def serve(
    *,
    port: int = DEFAULT_PORT,
    gateway_port: int = DEFAULT_GATEWAY_PORT,
    host: str = DEFAULT_HOST,
    checkpoint: str | None = None,
    loras: Path | None = None,
    gateway: bool = True,
    endpoint: str | None = None,
    allowed_origins: tuple[str, ...] = (),
    app_dir: Path | None = None,
    limits: ClientLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    retry_budget_s: float = DEFAULT_RETRY_BUDGET_S,
    log_as_json: bool = False,
    announce: Callable[[str], None] = logger.info,
) -> None:
    """Run the local servers until SIGINT or SIGTERM; requests in progress are finished first.

    A server that ends by itself is started again.

    Args:
        port: port of the Truss server.
        gateway_port: port of the gateway.
        host: address that the gateway listens on. Without a gateway, the Truss server listens on
            it, and nothing limits its clients.
        checkpoint: folder, file or hub id; None for the default one.
        loras: folder with LoRAs that requests can name; None for that of `RIFFUSION_LORAS`.
        gateway: whether to run the gateway.
        endpoint: address of an endpoint for the gateway, in place of a local Truss server.
        allowed_origins: further origins of web pages that may use the gateway.
        app_dir: directory of a built web app that the gateway serves.
        limits: limits per client of the gateway; default `ClientLimits()`.
        trusted_proxies: as in `GatewayServer`.
        timeout_s, retry_budget_s: as in `Endpoint`, for the gateway's requests.
        log_as_json: whether the Truss server logs JSON objects instead of text; they are written to
            standard error as they are.
        announce: called with a line of text for each address, once it can be reached.

    Raises:
        ServerError: a server could not be started, or kept ending by itself.
        EndpointError: `endpoint` is not an address.
        InputError: an allowed origin, a trusted proxy, the web app's directory or the folder with
            LoRAs is not valid.
    """
    # These raise before anything is started.
    lora_environment = _lora_environment(loras)
    networks_of(trusted_proxies)
    AllowedOrigins(allowed_origins)
    if app_dir is not None and not (app_dir / "index.html").is_file():
        raise InputError(
            f"{str(app_dir)!r} has no index.html; build the web app with `make web`, and use "
            "web/dist",
            field="app_dir",
        )
    if endpoint is not None and loras is not None:
        raise InputError("is for a local server; drop it, or --endpoint", "loras")
    if endpoint is not None:
        Endpoint(endpoint)
    if endpoint is not None and not gateway:
        raise ServerError(f"endpoint={endpoint} needs the gateway; drop one of the two options")
    with interrupted_by_sigterm(), contextlib.ExitStack() as servers:
        try:
            supervisors = []
            if endpoint is None:
                announce("starting the Truss server …")
                truss = LocalTrussServer(
                    host=DEFAULT_HOST if gateway else host,
                    port=port,
                    environment=_environment(checkpoint)
                    | lora_environment
                    | ({"DISABLE_JSON_LOGGING": ""} if log_as_json else {}),
                    on_log_line=_write_to_stderr if log_as_json else None,
                )
                supervisors.append(servers.enter_context(Supervisor(truss)))
                announce(f"inference: POST {truss.predict_url}")
                endpoint = truss.predict_url
            if gateway:
                limits = limits or ClientLimits()
                directory = _checkpoint_directory(checkpoint)
                web = GatewayProcess(
                    GatewaySettings(
                        host=host,
                        port=gateway_port,
                        endpoint=endpoint,
                        timeout_s=timeout_s,
                        retry_budget_s=retry_budget_s,
                        allowed_origins=tuple(allowed_origins),
                        trusted_proxies=tuple(trusted_proxies),
                        app_dir=None if app_dir is None else str(app_dir.resolve()),
                        checkpoint_dir=None if directory is None else str(directory.resolve()),
                        max_per_minute=limits.max_per_minute,
                        max_at_once=limits.max_at_once,
                        log_as_json=log_as_json,
                    ),
                    on_log_line=_write_to_stderr if log_as_json else None,
                )
                supervisors.append(servers.enter_context(Supervisor(web)))
                announce(f"web apps:  POST {web.base_url}{RUN_INFERENCE_PATH}/")
                announce(f"API page:  {web.base_url}/docs")
                if app_dir is not None:
                    announce(f"web app:   {web.base_url}/")
            while True:
                time.sleep(_POLL_S)
                for supervisor in supervisors:
                    supervisor.check()
        except KeyboardInterrupt:
            announce("stopping …")


def _write_to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _checkpoint_directory(checkpoint: str | None) -> Path | None:
    """The checkpoint if it is a directory on this machine, since it may hold seed images."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    path = Path(name).expanduser() if name else None
    return path if path is not None and path.is_dir() else None


def _environment(checkpoint: str | None) -> dict[str, str]:
    """Environment of the Truss server: the checkpoint, as an absolute path if it is a path."""
    name = checkpoint or os.environ.get("RIFFUSION_CHECKPOINT")
    if not name:
        return {}
    path = Path(name).expanduser()
    if path.exists():
        return {"RIFFUSION_CHECKPOINT": str(path.resolve())}
    return {"RIFFUSION_CHECKPOINT": name, "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}


def _lora_environment(folder: Path | None) -> dict[str, str]:
    """Environment of the Truss server: the folder with LoRAs, as an absolute path.

    Raises:
        InputError: it isn't a folder.
    """
    name = os.environ.get(LORA_FOLDER) if folder is None else str(folder)
    if not name:
        return {}
    path = Path(name).expanduser()
    if not path.is_dir():
        raise InputError(f"{name!r} is not a folder; name one with LoRAs", "loras")
    return {LORA_FOLDER: str(path.resolve())}
