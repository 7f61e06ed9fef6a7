"""Peak memory of the real Truss server with six requests at once, ordinary and the worst accepted.

    python -m benchmarks.request_memory [NUMBER ...]

Prints, for each kind of request, the statuses of six at once, the peak of the server's memory
meanwhile, what it holds five seconds later, and the time of a small clip beside them. Needs Linux.
"""

import base64
import collections
import io
import json
import struct
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.ports import free_port
from riffusion.serving.local.truss_server import LocalTrussServer

NUM_REQUESTS = 6
TIMEOUT_S = 900.0


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    """A grey image that compresses well."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode == "L" else (128,) * len(mode)).save(buffer, "png")
    return buffer.getvalue()


def deep_png(width: int, height: int) -> bytes:
    """A PNG of 16-bit RGBA, which Pillow can't write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    packer = zlib.compressobj(9)
    row = b"\0" + b"\x80" * (8 * width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def request(image: bytes | None = None, field: str = "init_image", **fields: Any) -> bytes:
    """A request's body."""
    media = {} if image is None else {field: base64.b64encode(image).decode()}
    start = {"prompt": "bells", "seed": 1}
    return json.dumps({"start": start, "num_inference_steps": 2, **media, **fields}).encode()


KINDS: dict[str, Callable[[], bytes]] = {
    "512×512 RGB": lambda: request(png(512, 512)),
    "6000×512 RGB": lambda: request(png(6000, 512)),
    "6000×8192 RGB": lambda: request(png(6000, 8192)),
    "6000×1 RGB": lambda: request(png(6000, 1)),
    "512×8192 RGB": lambda: request(png(512, 8192)),
    "512×8192 16-bit RGBA": lambda: request(deep_png(512, 8192)),
    "512×512 RGB, mask 6000×8192 RGB": lambda: request(png(6000, 8192), "mask_image"),
    "6000×512 RGB to audio": lambda: request(png(6000, 512), mode="image_to_audio"),
    "6000×8192 RGB to audio": lambda: request(png(6000, 8192), mode="image_to_audio"),
    "6000×8192 16-bit RGBA": lambda: request(deep_png(6000, 8192)),
    "6000×8192 16-bit RGBA to audio": lambda: request(deep_png(6000, 8192), mode="image_to_audio"),
}


def memory_mb(pid: int, name: str) -> float:
    """A line of the process's status in MB: VmRSS is its memory now, VmHWM the peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(name)


def measure(server: LocalTrussServer, body: bytes) -> str:
    """Send six requests at once; a line of the results."""
    assert server.pid is not None
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # resets the peak
    before_mb = memory_mb(server.pid, "VmRSS")

    def send(content: bytes) -> tuple[int, float]:
        started = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            status = client.post(server.predict_url, content=content, headers=headers).status_code
        return status, time.perf_counter() - started

    started = time.perf_counter()
    with ThreadPoolExecutor(NUM_REQUESTS + 1) as pool:
        answers = [pool.submit(send, body) for _ in range(NUM_REQUESTS)]
        time.sleep(0.5)
        small = pool.submit(send, request(png(4, 512), mode="image_to_audio"))
        statuses = collections.Counter(answer.result()[0] for answer in answers)
    seconds = time.perf_counter() - started
    peak_mb = memory_mb(server.pid, "VmHWM")
    time.sleep(5)
    after_mb = memory_mb(server.pid, "VmRSS")
    return (
        f"before {before_mb:5.0f} MB, peak {peak_mb:5.0f} MB, after {after_mb:5.0f} MB, "
        f"{seconds:5.1f} s, clip of 0.04 s in {small.result()[1]:4.1f} s, {dict(statuses)}"
    )


def main() -> None:
    """Measure the kinds whose numbers from 0 are arguments, or all, on one server."""
    numbers = [int(number) for number in sys.argv[1:]] or range(len(KINDS))
    kinds = list(KINDS.items())
    with LocalTrussServer(port=free_port()) as server:
        for name, body in (kinds[number] for number in numbers):
            print(f"{name:32} {measure(server, body())}", flush=True)


if __name__ == "__main__":
    main()
