"""A request's body, read from a client that need not mean well.

Many clients read an answer only after they have sent everything. So what is refused is still read,
and dropped, up to a limit; then the connection ends.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from riffusion.errors import InputError
from riffusion.serving.model.request_body import MAX_BODY_BYTES, body_too_large_message

BODY_TIMEOUT_S = 60.0
"""For a client to send its request: a slow one keeps one of its places."""
_MAX_DRAINED_BYTES = 128 * 2**20


async def read_body(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        InputError: it is too large.
        TimeoutError: it took longer than `BODY_TIMEOUT_S`.
        ClientDisconnect: the client left.
    """
    body = bytearray()
    num_bytes = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in _chunks(receive):
                num_bytes += len(chunk)
                if num_bytes <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError as error:
        raise TimeoutError(f"the request did not arrive within {BODY_TIMEOUT_S:g} s") from error
    if num_bytes > MAX_BODY_BYTES:
        raise InputError(body_too_large_message(num_bytes), field="request")
    return bytes(body)


async def drop_body(receive: Receive) -> None:
    """Read the body of a request that is refused anyway."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for _ in _chunks(receive):
                pass


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes, until its end or as far as anything is read."""
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
