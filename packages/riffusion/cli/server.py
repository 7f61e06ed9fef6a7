"""Upstream's server command: `python -m riffusion.server --checkpoint … --host … --port 3013`.

It starts the same servers as `riffusion serve`: the gateway on upstream's port, and the Truss
server on any free port.
"""

import logging
import socket
from typing import Annotated

import typer

from riffusion.errors import InputError

DEFAULT_PORT = 3013


def run_app(
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint: a folder, a file or a Hugging Face id.", show_default=False),
    ] = None,
    no_traced_unet: Annotated[
        bool, typer.Option("--no-traced-unet", help="Accepted and ignored: no traced UNet is used.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="Accepted only if it is the best available, which is always used."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = DEFAULT_PORT,
    debug: Annotated[bool, typer.Option("--debug", help="Log more.")] = False,
    ssl_certificate: Annotated[str | None, typer.Option(help="Not supported.")] = None,
    ssl_key: Annotated[str | None, typer.Option(help="Not supported.")] = None,
) -> None:
    """Serve a checkpoint to web apps.

    Raises:
        InputError: an option is not supported; the message says what to do instead.
        ServerError: a server could not be started, or ended on its own.
    """
    del no_traced_unet
    if ssl_certificate is not None or ssl_key is not None:
        raise InputError(
            "TLS is not supported here; run a reverse proxy with the certificate in front of "
            f"port {port}",
            field="ssl_certificate" if ssl_certificate is not None else "ssl_key",
        )
    if device is not None:
        _check_device(device)
    from riffusion.serving.local.serve import serve

    logging.getLogger("riffusion").setLevel(logging.DEBUG if debug else logging.INFO)
    serve(
        port=_free_port(),
        gateway_port=port,
        host=host,
        checkpoint=checkpoint,
        announce=lambda line: print(line, flush=True),
    )


def _check_device(device: str) -> None:
    from riffusion.runtime.devices import select_device

    if select_device(device).type != select_device().type:
        raise InputError(
            f"{device!r} is not the best device available, and the server always uses that one; "
            "to run without a GPU, set the environment variable CUDA_VISIBLE_DEVICES to ''",
            field="device",
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def main() -> int:
    """Run `python -m riffusion.server` and return its exit code."""
    from riffusion.cli.app import run

    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    application.command(help="Serve a checkpoint to web apps.")(run_app)
    return run(application, None, name="python -m riffusion.server")
