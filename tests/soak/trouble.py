"""Trouble for the servers: SIGKILL, a full disk for temporary files, a time of day that jumps.

The disk is a tmpfs of a user namespace, the clock a preloaded library that is compiled here. Where
a machine allows neither, that trouble is left out, and the report says so.
"""

import contextlib
import random
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fuzz.serve_process import ServeProcess

MAX_RESTART_S = 15.0
AFTERMATH_S = 3.0
"""Time after a trouble in which requests may still feel it, beyond their own duration."""
_JUMPS_S = (3600, -3600, 86_400, -86_400, 10 * 365 * 86_400)
_DISK = "256m"
_MODULES = {"truss": "truss_launcher", "gateway": "gateway_process"}


@dataclass
class Trouble:
    """Something that has befallen the servers: `truss`, `gateway`, `disk` or `clock`.

    Attributes:
        to_s: when it was over; infinite until then.
    """

    kind: str
    from_s: float
    to_s: float = float("inf")


class Troubles:
    """Makes trouble, and remembers when there was which.

    Args:
        folder: for the library, the clock's file and temporary files of the servers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock_file = folder / "clock"
        self._disk = folder / "disk"
        self._disk.mkdir()
        self._clock_file.write_bytes(struct.pack("l", 0))
        self.all: list[Trouble] = []
        self.left_out: list[str] = []
        self.restarts_s: dict[str, list[float]] = {"truss": [], "gateway": []}
        self.environment = {"TMPDIR": str(self._disk), **self._clock_environment()}
        self.prefix = self._disk_prefix()

    def between(self, from_s: float, to_s: float) -> set[str]:
        """Kinds of trouble that a request from `from_s` to `to_s` may have felt."""
        return {
            trouble.kind
            for trouble in self.all
            if trouble.from_s <= to_s and from_s <= trouble.to_s + AFTERMATH_S
        }

    @contextlib.contextmanager
    def _lasting(self, kind: str) -> Iterator[None]:
        trouble = Trouble(kind, time.monotonic())
        self.all.append(trouble)
        try:
            yield
        finally:
            trouble.to_s = time.monotonic()

    def kill(self, servers: ServeProcess, kind: str, patience_s: float) -> str | None:
        """SIGKILL one server, and wait until the gateway says that all is ready; else a fault."""
        with self._lasting(kind):
            found = find(servers, kind)
            if found is None:
                return f"no process of the {kind} to kill"
            found.kill()
            started = time.monotonic()
            found.wait(10)
            while find(servers, kind) is None or not servers.is_ready():
                if time.monotonic() - started > patience_s:
                    return f"the {kind} was not ready {patience_s:g} s after SIGKILL"
                time.sleep(0.1)
            self.restarts_s[kind].append(time.monotonic() - started)
        return None

    def fill_disk(self, servers: ServeProcess, seconds: float) -> None:
        """Leave no room for temporary files for some time."""
        if not self.prefix:
            return
        root = Path(f"/proc/{servers.pid}/root")
        filler = Path(f"{root}{self._disk.resolve()}/filler")
        with self._lasting("disk"):
            try:
                with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(bytes(2**16)):
                        pass
                time.sleep(seconds)
            finally:
                filler.unlink(missing_ok=True)

    def jump(self, noise: random.Random) -> None:
        """Set the servers' time of day forward or back."""
        if "LD_PRELOAD" not in self.environment:
            return
        with self._lasting("clock"):
            offset = noise.choice(_JUMPS_S)
            with self._clock_file.open("r+b") as file:  # the same file, which is mapped
                file.write(struct.pack("l", offset))

    def _clock_environment(self) -> dict[str, str]:
        library = self._folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        compiler = shutil.which("cc")
        command = [compiler or "cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(library)]
        if compiler is None or subprocess.run([*command, "-ldl"], check=False).returncode:
            self.left_out.append("a clock that jumps (there is no C compiler)")
            return {}
        return {"LD_PRELOAD": str(library), "SOAK_CLOCK_FILE": str(self._clock_file)}

    def _disk_prefix(self) -> list[str]:
        mount = f'mount -t tmpfs -o size={_DISK} tmpfs "$TMPDIR" && exec "$@"'
        prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [*prefix, "true"],
                env={"TMPDIR": str(self._disk), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                return prefix
        self.left_out.append("a full disk for temporary files (no user namespaces)")
        return []


def find(servers: ServeProcess, kind: str) -> psutil.Process | None:
    """The process of the Truss server or of the gateway, while it runs."""
    with contextlib.suppress(psutil.Error):
        for process in servers.processes()[1:]:
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if f"riffusion.serving.local.{_MODULES[kind]}" in command and (
                    process.status() != psutil.STATUS_ZOMBIE
                ):
                    return process
    return None
