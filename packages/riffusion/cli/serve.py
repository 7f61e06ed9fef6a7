"""`riffusion serve`: the local servers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from riffusion.cli import options


def serve(
    *,
    port: Annotated[int, typer.Option(help="Port of the Truss server.", min=1, max=65535)] = 8080,
    gateway_port: Annotated[
        int, typer.Option(help="Port of the gateway for web apps.", min=1, max=65535)
    ] = 3013,
    host: Annotated[
        str, typer.Option(help="Address to be reached at: the gateway's, if there is one.")
    ] = "127.0.0.1",
    checkpoint: options.Checkpoint = None,
    no_gateway: Annotated[bool, typer.Option("--no-gateway", help="Truss server only.")] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Run only the gateway, in front of this endpoint; API key from the environment.",
            show_default=False,
        ),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web pages from there may use the gateway, too, such as its own under a "
            "domain name; * for all."
        ),
    ] = None,
    app_dir: Annotated[
        Path | None,
        typer.Option(help="Built web app for the gateway to serve.", show_default=False),
    ] = None,
    requests_per_minute: Annotated[
        int, typer.Option(help="From one client address; 0 for any number.", min=0)
    ] = 120,
    requests_at_once: Annotated[
        int,
        typer.Option(help="Of one client address; a web app needs 4. 0 for any number.", min=0),
    ] = 6,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For names the client.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds until a request's answer, or a stream's event.", min=1)
    ] = 600,
    retry_for: Annotated[
        float, typer.Option(help="Seconds to wait for an endpoint that is away or busy.", min=0)
    ] = 30,
) -> None:
    """Run the inference server and the gateway.

    It is the real Truss server; the gateway is what web apps call. Ctrl-C ends both; requests in
    flight are finished first.
    """
    from riffusion.serving.gateway.client_limits import ClientLimits
    from riffusion.serving.local.serve import serve as run_servers

    logging.getLogger("riffusion").setLevel(logging.INFO)
    run_servers(
        port=port,
        gateway_port=gateway_port,
        host=host,
        checkpoint=checkpoint,
        gateway=not no_gateway,
        endpoint=endpoint,
        allowed_origins=tuple(allowed_origin or ()),
        app_dir=app_dir,
        limits=ClientLimits(requests_per_minute, requests_at_once),
        trusted_proxies=tuple(trusted_proxy or ()),
        timeout_s=timeout,
        retry_budget_s=retry_for,
        announce=lambda line: print(line, flush=True),
    )
