"""Keeps web pages away from the local Truss server: only the gateway and programs may use it.

Truss reads a body of any content type as JSON, and browsers let any page send some types to any
address. So a page could start work here, or reload the model. Requests that may come from a page
are answered with an error before Truss sees them: each request that

- names the page's origin, which a browser adds to every POST and a page can't remove;
- has a content type that pages may send without asking the server first (Fetch Standard, section
  2.2.2: CORS-safelisted request-header);
- calls this machine by a domain name. Its owner can let the name point here (DNS rebinding), and
  then the page may also read the answer.
"""

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from riffusion.serving.addresses import is_loopback, is_ownerless
from riffusion.serving.gateway.incoming_body import drop_body

_PAGE_MEDIA_TYPES = {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}


class PageFilter:
    """ASGI middleware that answers requests of web pages with an error.

    Args:
        app: the application behind it.
        host: address that the server listens on. Domain names are allowed if other machines can
            reach it, since then it may have one; the other rules hold there too.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._is_private = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, message = refusal
        response = JSONResponse({"error": message}, status, await drop_body(receive))
        await response(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        """Status and message of the error; None if the request comes from no page."""
        origin = headers.get("origin")
        if origin is not None:
            return 403, f"origin={origin[:100]}: this server is not for web pages; use the gateway"
        host = headers.get("host", "")
        if self._is_private and host and not is_ownerless(host):
            return 403, f"host={host[:100]} is not this machine; call it 127.0.0.1 or localhost"
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in _PAGE_MEDIA_TYPES:
            return 415, f"content-type={media_type} is not read; send application/json"
        return None
