"""Many concurrent clients of the real Truss server, with batching and without.

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
"""Clips per client in each of two rounds. A client requests them one after the other."""


@dataclasses.dataclass(frozen=True)
class ConcurrencyRow:
    """Throughput and latency for one number of clients, with batching and without.

    Args:
        clients: number of concurrent clients.
        clips_per_s, p50_s, p95_s: throughput, and median and 95th percentile of the latency, with
            batching. Latency is the time from sending a request to receiving the response.
        clips_per_s_off, p50_off_s, p95_off_s: the same with batching off.
        ratio: clips_per_s / clips_per_s_off.
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
    """Measure both servers for each number of clients, in both orders."""
    on = {"RIFFUSION_MAX_WAITING": "30"}
    off = {**on, "RIFFUSION_MAX_LIVE": "1"}
    rows = []
    with (
        LocalTrussServer(port=free_port(), environment=on) as batching,
        LocalTrussServer(port=free_port(), environment=off) as alone,
    ):
        for server in (batching, alone):
            _run_clients(server, 1, 1, steps)
        for clients in NUM_CLIENTS:
            on_1 = _run_clients(batching, clients, CLIPS_PER_CLIENT, steps)
            off_1 = _run_clients(alone, clients, CLIPS_PER_CLIENT, steps)
            off_2 = _run_clients(alone, clients, CLIPS_PER_CLIENT, steps)
            on_2 = _run_clients(batching, clients, CLIPS_PER_CLIENT, steps)
            with_batching, without = _summarize(on_1, on_2), _summarize(off_1, off_2)
            rows.append(
                ConcurrencyRow(
                    clients, *with_batching, *without, ratio=with_batching[0] / without[0]
                )
            )
    return rows


@dataclasses.dataclass(frozen=True)
class _Round:
    """Latencies of the clips, and the total time of the round."""

    latencies_s: list[float]
    seconds: float


def _summarize(*rounds: _Round) -> tuple[float, float, float]:
    """Clips per second, and the median and 95th percentile of the latency in seconds."""
    latencies = sorted(latency for part in rounds for latency in part.latencies_s)
    p95 = latencies[min(len(latencies) - 1, round(0.95 * len(latencies)))]
    seconds = sum(part.seconds for part in rounds)
    return len(latencies) / seconds, statistics.median(latencies), p95


def _run_clients(server: LocalTrussServer, clients: int, clips: int, steps: int) -> _Round:
    def request_clips(client: int) -> list[float]:
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
        latencies = [s for found in pool.map(request_clips, range(clients)) for s in found]
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
    """Measure and save the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    rows = measure(options.steps)
    results.save("concurrency", rows, markdown(rows))


if __name__ == "__main__":
    main()
