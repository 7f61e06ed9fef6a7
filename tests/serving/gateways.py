"""A gateway in front of any address, and a request and a clip to send through it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import httpx

from riffusion.serving.client import Endpoint
from riffusion.serving.gateway.app import create_gateway
from riffusion.serving.gateway.client_limits import ClientLimits
from riffusion.serving.local.gateway_server import GatewayServer
from tests.patience import PATIENCE_S

CLIP = b'{"image": "data:image/jpeg;base64,YQ==", "audio": "data:audio/mpeg;base64,YQ=="}'
REQUEST = b'{"start": {"prompt": "bells", "seed": 1}}'
PREDICT_HEAD = b"POST /run_inference/ HTTP/1.1\r\nHost: gateway\r\n"
TIMEOUT_S = PATIENCE_S


@contextmanager
def gateway_to(
    url: str,
    timeout_s: float = PATIENCE_S,
    retry_budget_s: float = 0,
    app_dir: Path | None = None,
    limits: ClientLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
) -> Iterator[httpx.Client]:
    """A client of a gateway in front of `url`, which waits as long as the tests do."""
    with mock.patch("riffusion.serving.client._CONNECT_TIMEOUT_S", TIMEOUT_S):
        endpoint = Endpoint(url, timeout_s=timeout_s, retry_budget_s=retry_budget_s)
    app = create_gateway(endpoint, ["https://app.example"], app_dir, limits=limits)
    with (
        mock.patch("riffusion.serving.gateway.app._CHECK_TIMEOUT_S", TIMEOUT_S),
        GatewayServer(app, trusted_proxies=trusted_proxies) as gateway,
        httpx.Client(base_url=gateway.base_url, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        yield client


def connect(client: httpx.Client) -> socket.socket:
    """A TCP connection to the client's gateway."""
    address = urlsplit(str(client.base_url))
    return socket.create_connection((address.hostname, address.port), TIMEOUT_S)


def send_bytes(client: httpx.Client, request: bytes) -> tuple[int, bytes]:
    """Status and rest of the response to raw bytes; status 0 if there is no response."""
    with connect(client) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    return (int(answer.split()[1]) if answer else 0), answer.partition(b"\r\n")[2]
