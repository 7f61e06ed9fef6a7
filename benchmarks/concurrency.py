"""Many clients at once through the real Truss server, with batching and without.

python -m benchmarks.concurrency [--steps 20]
"""

import argparse
import concurrent.futures
import dataclasses
import statistics
import time

import httpx

from benchmarks import results
from benchmarks.ports import free_port
from riffusion.serving.local.truss_server import LocalTrussServer

NUM_CLIENTS = (1, 2, 4, 8, 16)
CLIPS_PER_CLIENT = 2
"""In each of two rounds. A client asks for the next clip when it has the last one."""


@dataclasses.dataclass(frozen=True)
class ConcurrencyRow:
    """One number of clients, against a server with batching and against one without.

    Args:
        clients: at once.
        clips_per_s, p50_s, p95_s: with batching; latency from sending to having the answer.
        clips_per_s_off, p50_off_s, p95_off_s: the same with batching off.
        ratio: of clips a second, with over without.
    """

    clients: int
    clips_per_s: float
    p50_s: float
    p95_s: float
    clips_per_s_off: float
    p50_off_s: float
    p95_off_s: float
    ratio: float


def measure(steps: int) -> list[ConcurrencyRow]:
    """Ask both servers in turn, number by number, and in the other order again."""
    on = {"RIFFUSION_MAX_WAITING": "30"}
    off = {**on, "RIFFUSION_MAX_LIVE": "1"}
    rows = []
    with (
        LocalTrussServer(port=free_port(), environment=on) as batching,
        LocalTrussServer(port=free_port(), environment=off) as alone,
    ):
        for server in (batching, alone):
            _ask(server, 1, 1, steps)
        for clients in NUM_CLIENTS:
            on_1 = _ask(batching, clients, CLIPS_PER_CLIENT, steps)
            off_1 = _ask(alone, clients, CLIPS_PER_CLIENT, steps)
            off_2 = _ask(alone, clients, CLIPS_PER_CLIENT, steps)
            on_2 = _ask(batching, clients, CLIPS_PER_CLIENT, steps)
            with_batching, without = _together(on_1, on_2), _together(off_1, off_2)
            rows.append(
                ConcurrencyRow(
                    clients, *with_batching, *without, ratio=with_batching[0] / without[0]
                )
            )
    return rows


@dataclasses.dataclass(frozen=True)
class _Round:
    """Latencies of clips in seconds, and how long all of them took together."""

    latencies_s: list[float]
    seconds: float


def _together(*rounds: _Round) -> tuple[float, float, float]:
    """Clips a second, and the median and 95th percentile of the latency in seconds."""
    latencies = sorted(latency for part in rounds for latency in part.latencies_s)
    p95 = latencies[min(len(latencies) - 1, round(0.95 * len(latencies)))]
    seconds = sum(part.seconds for part in rounds)
    return len(latencies) / seconds, statistics.median(latencies), p95


def _ask(server: LocalTrussServer, clients: int, clips: int, steps: int) -> _Round:
    def ask_for_clips(client: int) -> list[float]:
        latencies = []
        with httpx.Client(timeout=600, trust_env=False) as http:
            for number in range(clips):
                request = {
                    "start": {"prompt": "church bells", "seed": 100 * client + number},
                    "num_inference_steps": steps,
                    "scheduler": "dpmsolver++",
                }
                started = time.perf_counter()
                http.post(server.predict_url, json=request).raise_for_status()
                latencies.append(time.perf_counter() - started)
        return latencies

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        latencies = [s for found in pool.map(ask_for_clips, range(clients)) for s in found]
    return _Round(latencies, time.perf_counter() - started)


def markdown(rows: list[ConcurrencyRow]) -> str:
    """The rows as a table."""
    lines = [
        "| clients | clips/s | p50 s | p95 s | off: clips/s | p50 s | p95 s | ratio of clips/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.clients} | {row.clips_per_s:.2f} | {row.p50_s:.2f} | {row.p95_s:.2f} "
        f"| {row.clips_per_s_off:.2f} | {row.p50_off_s:.2f} | {row.p95_off_s:.2f} "
        f"| {row.ratio:.2f}× |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the rows as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    rows = measure(options.steps)
    results.save("concurrency", rows, markdown(rows))


if __name__ == "__main__":
    main()
