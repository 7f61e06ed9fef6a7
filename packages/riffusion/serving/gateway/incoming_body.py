"""Reads the body of a request, with limits on its size and time.

Many clients read the response only after they have sent the whole request. So the body of a refused
request is still read, and dropped, up to a limit. If its end is not reached, the response closes
the connection.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from riffusion.errors import InputError
from riffusion.serving.model.request_body import MAX_BODY_BYTES, body_too_large_message

BODY_TIMEOUT_S = 60.0
"""Time for a client to send its request, in which it holds one of its slots."""
CLOSE: Mapping[str, str] = {"Connection": "close"}
"""Header of a response whose request was not read to its end; the server closes the connection."""
_MAX_DRAINED_BYTES = 128 * 2**20


async def read_body(receive: Receive, take: Callable[[int], bool] = lambda _: True) -> bytes:
    """The whole body.

    Args:
        receive: the request's messages.
        take: called with a number of bytes before they are kept; returns whether there is room.

    Raises:
        InputError: it is larger than `MAX_BODY_BYTES`.
        TimeoutError: it took longer than `BODY_TIMEOUT_S`.
        ClientDisconnect: the client left.
        MemoryError: there was no room; the body is read to its end, and dropped.
    """
    has_room = True
    body = bytearray()
    num_bytes = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in _chunks(receive):
                num_bytes += len(chunk)
                if num_bytes > MAX_BODY_BYTES or not has_room:
                    continue
                if has_room := take(len(chunk)):
                    body += chunk
                else:
                    body.clear()
    except TimeoutError as error:
        raise TimeoutError(f"the request did not arrive within {BODY_TIMEOUT_S:g} s") from error
    if num_bytes > MAX_BODY_BYTES:
        raise InputError(body_too_large_message(num_bytes), field="request")
    if not has_room:
        raise MemoryError("no room for the body")
    return bytes(body)


async def drop_body(receive: Receive) -> Mapping[str, str]:
    """Read the body of a refused request.

    Returns:
        Headers for the response: `CLOSE` if the end of the body was not reached.
    """
    num_bytes = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in _chunks(receive):
                num_bytes += len(chunk)
            if num_bytes <= _MAX_DRAINED_BYTES:
                return {}
    return CLOSE


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Chunks of the body until its end, or until more than `_MAX_DRAINED_BYTES` are read."""
    num_bytes = 0
    more_body = True
    while more_body and num_bytes <= _MAX_DRAINED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more_body = message.get("more_body", False)
        num_bytes += len(chunk)
        yield chunk
