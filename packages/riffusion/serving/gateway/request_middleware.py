"""Gives each request for a clip an id and a span, and logs it when its response is complete."""

import logging
import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from riffusion.serving.request_id import REQUEST_ID, begin_request
from riffusion.serving.request_log import log_with_fields
from riffusion.serving.tracing import (
    TRACEPARENT,
    begin_trace,
    current_traceparent,
    end_span,
    start_span,
    traceparent_of,
)

logger = logging.getLogger(__name__)

_NO_RESPONSE = 0


class RequestMiddleware:
    """Adds X-Request-ID to the response, and logs one line per request.

    Args:
        app: what answers the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its messages counted."""
        headers = Headers(scope=scope)
        request_id = begin_request(headers.get(REQUEST_ID))
        begin_trace(headers.get(TRACEPARENT))
        span = start_span("gateway request", current_traceparent.get(), is_server=True)
        if span is not None:
            current_traceparent.set(traceparent_of(span))
        status = _NO_RESPONSE
        num_request_bytes = num_response_bytes = 0
        started_s = time.monotonic()

        async def counted_receive() -> Message:
            nonlocal num_request_bytes
            message = await receive()
            num_request_bytes += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, num_response_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            num_response_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        finally:
            total_s = time.monotonic() - started_s
            fields = {
                "status": status,
                "request_bytes": num_request_bytes,
                "response_bytes": num_response_bytes,
                "total_s": round(total_s, 4),
            }
            log_with_fields(
                logger,
                logging.INFO,
                f"request status={status} request_bytes={num_request_bytes} "
                f"response_bytes={num_response_bytes} total_s={total_s:.2f} id={request_id}",
                fields,
            )
            facts: dict[str, str | int | float] = {
                "riffusion.request_id": request_id,
                "http.response.status_code": status,
            }
            end_span(span, facts, has_failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR)
