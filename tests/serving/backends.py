"""A small HTTP server that plays an endpoint, also a broken one."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.patience import PATIENCE_S

Play = Callable[[BaseHTTPRequestHandler], None]


class Backend:
    """Answers each POST with the next of `plays`, and repeats the last one.

    Args:
        plays: each answers one POST request.
        port: TCP port; 0 for any free one.
        get: answers every GET request; default: 404.
    """

    def __init__(self, *plays: Play, port: int = 0, get: Play | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        waiting = list(plays)
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                backend.requests.append((self.path, headers, body))
                (waiting.pop(0) if len(waiting) > 1 else waiting[0])(self)

            def do_GET(self) -> None:
                (get or say(b"{}", 404))(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Backend":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """Send nothing until the test is over."""
        self.released.wait(PATIENCE_S)


def say(
    content: bytes, status: int = 200, media_type: str = "application/json", **headers: str
) -> Play:
    """Answer with `content`."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", media_type)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return play


def break_off(lines: bytes, media_type: str = "application/x-ndjson") -> Play:
    """Begin a response and close the connection in the middle of it."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", media_type)
        handler.send_header("Content-Length", str(len(lines) + 1000))
        handler.end_headers()
        handler.wfile.write(lines)
        handler.close_connection = True

    return play


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""
    handler.close_connection = True
