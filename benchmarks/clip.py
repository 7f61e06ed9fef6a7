"""One clip, JSON in and MP3 out, through the real Truss server with the embedded checkpoint.

python -m benchmarks.clip
"""

import dataclasses
import statistics
import time

import httpx

from benchmarks import results
from benchmarks.ports import free_port
from riffusion.serving.truss_server import LocalTrussServer

REPEATS = 5
SETTINGS = (("pndm", 50), ("dpmsolver++", 50), ("dpmsolver++", 20), ("dpmsolver++", 10))
"""Upstream's default first; the others are compared with it."""


@dataclasses.dataclass(frozen=True)
class ClipRow:
    """One line of the result: the median of several requests, taken in turn with the others'.

    Args:
        scheduler, steps: of the request.
        seconds: from sending the request to having the answer.
        speedup: seconds of the first row over these.
        real_time_factor: seconds of music a second.
    """

    scheduler: str
    steps: int
    seconds: float
    speedup: float
    real_time_factor: float


def measure(repeats: int = REPEATS) -> list[ClipRow]:
    """Start a server, and ask it for clips."""
    times_s: dict[tuple[str, int], list[float]] = {setting: [] for setting in SETTINGS}
    duration_s = 0.0
    with (
        LocalTrussServer(port=free_port()) as server,
        httpx.Client(timeout=300, trust_env=False) as client,
    ):
        for repeat in range(repeats + 1):  # the first round warms up
            for scheduler, steps in SETTINGS:
                request = {
                    "start": {"prompt": "church bells", "seed": repeat, "denoising": 1.0},
                    "num_inference_steps": steps,
                    "scheduler": scheduler,
                }
                started = time.perf_counter()
                answer = client.post(server.predict_url, json=request).raise_for_status().json()
                if repeat > 0:
                    times_s[scheduler, steps].append(time.perf_counter() - started)
                duration_s = float(answer["duration_s"])
    medians = {setting: statistics.median(times) for setting, times in times_s.items()}
    first = medians[SETTINGS[0]]
    return [
        ClipRow(scheduler, steps, median_s, first / median_s, duration_s / median_s)
        for (scheduler, steps), median_s in medians.items()
    ]


def markdown(rows: list[ClipRow]) -> str:
    """The rows as a table."""
    lines = [
        "| scheduler | steps | seconds | against the first row | × real time |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.scheduler} | {row.steps} | {row.seconds:.2f} | {row.speedup:.1f}× "
        f"| {row.real_time_factor:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and keep the result."""
    rows = measure()
    results.save("clip", rows, markdown(rows))


if __name__ == "__main__":
    main()
