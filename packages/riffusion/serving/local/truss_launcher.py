"""Runs the Truss server in the child process, as Truss' own `main.py` does, with some differences.

The server listens on the given address; Truss itself always listens on 0.0.0.0. It refuses web
pages, ignores upgrades to WebSocket, which Truss leaves without an answer, and keeps clients that
stop sending. If the parent ends without stopping it, the server stops as on SIGTERM and removes the
directory that the parent made for it. `riffusion.serving.local.truss_server` starts this module in
the server's directory; standard input is a pipe that the parent holds open.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from riffusion.serving.local.half_close import HalfCloseH11Protocol
from riffusion.serving.local.page_filter import PageFilter
from riffusion.serving.local.truss_server import DIRECTORY_PREFIX


def main() -> None:
    """Run the Truss server of the working directory. Arguments: HOST PORT."""
    host, port = sys.argv[1], int(sys.argv[2])
    parent_is_gone = threading.Event()
    threading.Thread(target=_stop_with_parent, args=(parent_is_gone,), daemon=True).start()

    class LocalConfig(uvicorn.Config):
        def __init__(self, *args: Any, **options: Any) -> None:
            app, *others = args
            own = {"host": host, "http": HalfCloseH11Protocol, "ws": "none"}
            super().__init__(PageFilter(app, host), *others, **{**options, **own})

    uvicorn.Config = LocalConfig  # type: ignore[misc]

    # A module in the working directory:
    from truss_server import TrussServer  # type: ignore[import-not-found]

    # uvicorn re-raises the signal that stopped it; this turns it into exit status 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        TrussServer(port, "config.yaml").start()
    finally:
        directory = Path.cwd().parent
        if parent_is_gone.is_set() and directory.name.startswith(DIRECTORY_PREFIX):
            shutil.rmtree(directory, ignore_errors=True)


def _stop_with_parent(parent_is_gone: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    parent_is_gone.set()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
