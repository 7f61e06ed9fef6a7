"""`riffusion serve`: the inference server and the gateway, on this machine."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from riffusion.cli import options


def serve(
    *,
    port: Annotated[int, typer.Option(help="Port of the Truss server.", min=1, max=65535)] = 8080,
    gateway_port: Annotated[
        int, typer.Option(help="Port of the gateway for web apps.", min=1, max=65535)
    ] = 3013,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on: the gateway's, or with --no-gateway the server's."
        ),
    ] = "127.0.0.1",
    checkpoint: options.Checkpoint = None,
    loras: Annotated[
        Path | None,
        typer.Option(
            help="Folder with LoRAs that requests can name by their ids, the names without "
            "extension. Default: the environment variable RIFFUSION_LORAS, else none.",
            show_default=False,
        ),
    ] = None,
    no_gateway: Annotated[
        bool, typer.Option("--no-gateway", help="Run only the Truss server.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Run only the gateway, in front of the endpoint at this address. The API key is "
            "read from the environment variable RIFFUSION_API_KEY or BASETEN_API_KEY.",
            show_default=False,
        ),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Also accept requests from web pages of this origin, such as "
            "https://music.example; * for all; may be repeated."
        ),
    ] = None,
    app_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the built web app, which the gateway serves.", show_default=False
        ),
    ] = None,
    requests_per_minute: Annotated[
        int,
        typer.Option(
            help="Maximum number of requests per minute from one client address; 0 for no limit.",
            min=0,
        ),
    ] = 120,
    requests_at_once: Annotated[
        int,
        typer.Option(
            help="Maximum number of simultaneous requests from one client address; 0 for no limit. "
            "The web app needs 4.",
            min=0,
        ),
    ] = 6,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a reverse proxy whose X-Forwarded-For header is trusted; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            help="Timeout in seconds for a response, or for the next event of a stream.", min=1
        ),
    ] = 600,
    retry_for: Annotated[
        float,
        typer.Option(
            help="For how many seconds to retry an endpoint that is unreachable or busy.", min=0
        ),
    ] = 30,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="The log as text, or as one JSON object per line."),
    ] = "text",
) -> None:
    """Run the inference server and the gateway.

    Both run on this machine. The inference server is the same Truss server that runs on a host; web
    apps call the gateway. Ctrl-C stops both after they have finished the running requests.
    """
    from riffusion.serving.gateway.client_limits import ClientLimits
    from riffusion.serving.local.serve import serve as run_servers
    from riffusion.serving.request_log import JsonFormatter

    logging.getLogger("riffusion").setLevel(logging.INFO)
    if log_format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    run_servers(
        port=port,
        gateway_port=gateway_port,
        host=host,
        checkpoint=checkpoint,
        loras=loras,
        gateway=not no_gateway,
        endpoint=endpoint,
        allowed_origins=tuple(allowed_origin or ()),
        app_dir=app_dir,
        limits=ClientLimits(requests_per_minute, requests_at_once),
        trusted_proxies=tuple(trusted_proxy or ()),
        timeout_s=timeout,
        retry_budget_s=retry_for,
        log_as_json=log_format == "json",
        announce=lambda line: print(line, flush=True),
    )
