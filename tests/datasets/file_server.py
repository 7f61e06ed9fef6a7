"""A web server for files on this machine, which can break off answers."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_ENDLESS = bytes(2**16)
_SLOW_S = 0.1


class FileServer:
    """Attributes: url; reads, the number of GET requests per name; breaks, how many answers of a
    name end after half of their bytes; endless, names whose answers don't end by themselves; sent,
    the number of bytes of those; slow, names that are sent byte by byte; statuses, what names are
    answered with in place of their file."""

    def __init__(self) -> None:
        self.url = ""
        self.reads: Counter[str] = Counter()
        self.credentials: set[str | None] = set()
        self.breaks: Counter[str] = Counter()
        self.endless: set[str] = set()
        self.sent: Counter[str] = Counter()
        self.slow: set[str] = set()
        self.slow_headers: set[str] = set()
        self.statuses: dict[str, int] = {}


@contextmanager
def serve_files(folder: Path) -> Iterator[FileServer]:
    """Serve a folder until the end of the block."""
    found = FileServer()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            found.reads[name] += 1
            found.credentials.add(self.headers["Authorization"])
            path = folder / name
            if name in found.statuses:
                self.send_error(found.statuses[name])
                return
            if name in found.slow_headers:
                with contextlib.suppress(OSError):  # the reader has closed the connection
                    self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                    for number in range(1000):
                        self.wfile.write(b"X-Slow: %d\r\n" % number)
                        time.sleep(_SLOW_S)
                self.close_connection = True
                return
            if name in found.slow:
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader has closed the connection
                    for byte in path.read_bytes():
                        self.wfile.write(bytes([byte]))
                        time.sleep(_SLOW_S)
                self.close_connection = True
                return
            if name in found.endless:
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader has closed the connection
                    while self.wfile.write(_ENDLESS):
                        found.sent[name] += len(_ENDLESS)
                self.close_connection = True
                return
            if found.breaks[name] > 0 and path.is_file():
                found.breaks[name] -= 1
                data = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return
            super().do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
