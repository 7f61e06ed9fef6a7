"""Reads the body of an endpoint's answer, within limits on its size.

A compressed body is refused: no request asks for one, and a few bytes of it can become any number.
"""

import json
from collections.abc import Iterator
from http import HTTPStatus

import httpx

from riffusion.errors import EndpointError

MAX_ANSWER_BYTES = 256 * 2**20
"""Limit for a body, and for a line of a stream; no clip is as large."""
_MAX_ERROR_BYTES = 2**20
_MAX_SHOWN_CHARACTERS = 200
_MAX_MESSAGE_CHARACTERS = 2000
_REMEDIES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "set RIFFUSION_API_KEY to a key that the endpoint accepts",
    HTTPStatus.FORBIDDEN: "set RIFFUSION_API_KEY to a key that the endpoint accepts",
    HTTPStatus.NOT_FOUND: "check the address",
    HTTPStatus.METHOD_NOT_ALLOWED: "check the address",
}


def check_not_compressed(response: httpx.Response) -> None:
    """Check the header of a response.

    Raises:
        httpx.DecodingError: its body is compressed.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise httpx.DecodingError(f"it is compressed ({encoding[:40]}), which nobody asked for")


def too_large() -> EndpointError:
    """The exception for a body, or a line, above the limit."""
    return EndpointError(
        f"the endpoint's answer is larger than {MAX_ANSWER_BYTES >> 20} MiB, and no clip is; "
        "is it a Riffusion endpoint?",
        502,
    )


def read_body(response: httpx.Response) -> bytes:
    """The whole body.

    Raises:
        EndpointError: it is above the limit.
        httpx.RequestError: it broke off, or is compressed.
    """
    body = _beginning(response, MAX_ANSWER_BYTES)
    if len(body) > MAX_ANSWER_BYTES:
        raise too_large()
    return body


def read_lines(response: httpx.Response) -> Iterator[bytes]:
    """The lines of a stream, without their ends and without empty lines.

    Raises:
        EndpointError: a line is above the limit.
        httpx.RequestError: the stream broke off, or is compressed.
    """
    check_not_compressed(response)
    splitter = LineSplitter()
    for chunk in response.iter_raw():
        yield from splitter.lines_after(chunk)
    yield from splitter.last_line()


class LineSplitter:
    """Splits the chunks of a stream into lines, without their ends and without empty lines.

    Lines end with a line feed only. JSON may hold other characters that end lines elsewhere.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def lines_after(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes.

        Raises:
            EndpointError: the line that has begun is above the limit.
        """
        self._rest += chunk
        if b"\n" in chunk:
            *lines, self._rest = self._rest.split(b"\n")
            yield from filter(None, map(bytes.strip, map(bytes, lines)))
        if len(self._rest) > MAX_ANSWER_BYTES:
            raise too_large()

    def last_line(self) -> Iterator[bytes]:
        """What follows the last line feed, if anything does."""
        if line := bytes(self._rest).strip():
            yield line


def error_from(response: httpx.Response, shown_url: str) -> EndpointError:
    """The exception for an error response; its body is read here."""
    status = response.status_code
    try:
        body = _beginning(response, _MAX_ERROR_BYTES)
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        return EndpointError(
            f"the endpoint answered with status {status}, and its message broke off: {reason}",
            status,
        )
    return EndpointError(_message_in(body) or _message_for(response, body, shown_url), status)


def error_in(values: dict[str, object]) -> str:
    """The `error` of an answer or an event; empty if it has none."""
    message = values.get("error")
    return message.strip()[:_MAX_MESSAGE_CHARACTERS] if isinstance(message, str) else ""


def _message_in(body: bytes) -> str:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return error_in(values) if isinstance(values, dict) else ""


def _message_for(response: httpx.Response, body: bytes, shown_url: str) -> str:
    """The message for an error response that has none of its own."""
    status = response.status_code
    # Not `response.text`: the header can name a codec that fails, or that isn't for text.
    text = " ".join(body[: 4 * _MAX_SHOWN_CHARACTERS].decode("utf-8", "replace").split())
    shown = f": {text[:_MAX_SHOWN_CHARACTERS]}" if text else ""
    location = response.headers.get("location", "")
    if response.is_redirect:
        remedy = f"it redirects to {location[:_MAX_SHOWN_CHARACTERS]}; use that address"
    else:
        remedy = _REMEDIES.get(status, "look at its log")
    return f"endpoint={shown_url} answered with status {status}{shown}; {remedy}"


def _beginning(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, or at least `max_bytes` + 1 bytes of it."""
    check_not_compressed(response)
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body)
