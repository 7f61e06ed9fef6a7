"""Hosts, ports, paths and URLs of the local servers, and networks of trusted proxies."""

import ipaddress
import re
import socket
from collections.abc import Sequence

from riffusion.errors import InputError, ServerError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
PREDICT_PATH = "/v1/models/model:predict"
READY_PATH = "/v1/models/model"
"""Paths of the Truss server, on this machine and on a host."""
RUN_INFERENCE_PATH = "/run_inference"
"""The gateway's path for web apps; the public one adds a slash."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_OWNERLESS_HOST = r"([0-9.]+|\[[0-9a-fA-F:.]+\]|[A-Za-z0-9-]+|[A-Za-z0-9.-]+\.localhost)(:\d+)?"
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def local_url(host: str, port: int) -> str:
    """URL, for clients on this machine, of a server that listens on `host` and `port`."""
    name = _ANY_ADDRESS.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine that no other machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_ownerless(host: str) -> bool:
    """Whether a Host header is an address, a name without a dot, or a name below `localhost`.

    Other names have owners, who could let them resolve to this machine, so that the owner's page
    and a server here seem to be one site (DNS rebinding). Names below `localhost` always mean this
    machine (RFC 6761).
    """
    return re.fullmatch(_OWNERLESS_HOST, host) is not None


def bound_socket(host: str, port: int, option: str) -> socket.socket:
    """A TCP socket that is bound to the port; the caller closes it.

    Args:
        host: address of this machine.
        port: TCP port; 0 for any free one.
        option: name of the option that sets the port, for error messages.

    Raises:
        ServerError: the port is in use, or the address isn't this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ServerError(
            f"{option}={port} on host={host} cannot be used: {error}; stop what uses it, or choose "
            "another port"
        ) from error
    return bound


def networks_of(proxies: Sequence[str]) -> list[Network]:
    """Networks of trusted proxies.

    An IPv4 network is returned in its IPv6-mapped form too, since a socket that accepts both kinds
    reports IPv4 peers in that form.

    Raises:
        InputError: a value is neither an address nor a network.
    """
    networks: list[Network] = []
    for proxy in proxies:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError as error:
            raise InputError(
                f"{error}; write an address such as 10.0.0.7 or a network such as 10.0.0.0/8",
                field="trusted_proxy",
            ) from error
        networks.append(network)
        if isinstance(network, ipaddress.IPv4Network):
            mapped = f"::ffff:{network.network_address}/{96 + network.prefixlen}"
            networks.append(ipaddress.IPv6Network(mapped))
    return networks
