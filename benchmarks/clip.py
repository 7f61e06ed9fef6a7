"""One clip, JSON in and MP3 out, through the real Truss server with the embedded checkpoint.

python -m benchmarks.clip
"""

import dataclasses
import statistics
import time

import httpx

from benchmarks import results
from benchmarks.ports import free_port
from riffusion.datatypes import PRESETS
from riffusion.serving.local.truss_server import LocalTrussServer

REPEATS = 5
FIRST = "reference"
"""The preset of upstream's defaults, which the other presets are compared with."""


@dataclasses.dataclass(frozen=True)
class ClipRow:
    """The median of several requests with one preset. Requests alternate between the presets.

    Args:
        preset: preset of the request.
        settings: settings of the preset.
        seconds: time from sending the request to receiving the response.
        speedup: seconds of the preset `FIRST` / these seconds.
        real_time_factor: seconds of audio per second.
        stages_s: median seconds of each stage of the clip, as the server measures them.
    """

    preset: str
    settings: str
    seconds: float
    speedup: float
    real_time_factor: float
    stages_s: dict[str, float]


def measure(repeats: int = REPEATS) -> list[ClipRow]:
    """Start a server, and request clips from it."""
    times_s: dict[str, list[float]] = {preset: [] for preset in PRESETS}
    stages_s: dict[str, list[dict[str, float]]] = {preset: [] for preset in PRESETS}
    duration_s = 0.0
    with (
        LocalTrussServer(port=free_port()) as server,
        httpx.Client(timeout=300, trust_env=False) as client,
    ):
        for repeat in range(repeats + 1):  # the first round warms up
            for preset in PRESETS:
                request = {
                    "start": {"prompt": "church bells", "seed": repeat, "denoising": 1.0},
                    "preset": preset,
                }
                started = time.perf_counter()
                response = client.post(server.predict_url, json=request).raise_for_status()
                answer = response.json()
                if repeat > 0:
                    times_s[preset].append(time.perf_counter() - started)
                    stages_s[preset].append(results.stages_s(response.headers["server-timing"]))
                duration_s = float(answer["duration_s"])
    medians = {preset: statistics.median(times) for preset, times in times_s.items()}
    return [
        ClipRow(
            preset,
            _settings(preset),
            median_s,
            medians[FIRST] / median_s,
            duration_s / median_s,
            {
                stage: statistics.median(stages[stage] for stages in stages_s[preset])
                for stage in stages_s[preset][0]
            },
        )
        for preset, median_s in medians.items()
    ]


def _settings(preset: str) -> str:
    fields = PRESETS[preset]
    text = f"{fields['num_inference_steps']} steps of {fields['scheduler']}"
    if interval := fields.get("guidance_interval"):
        text += f", guidance from {interval[0]:.0%} to {interval[1]:.0%} of them"
    return text


def markdown(rows: list[ClipRow]) -> str:
    """The rows as a table."""
    lines = [
        f"| preset | | seconds | speedup over {FIRST} | × real time | of which, in seconds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.preset} | {row.settings} | {row.seconds:.2f} | {row.speedup:.1f}× "
        f"| {row.real_time_factor:.1f} "
        f"| {', '.join(f'{stage} {s:.2f}' for stage, s in row.stages_s.items())} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and save the result."""
    rows = measure()
    results.save("clip", rows, markdown(rows))


if __name__ == "__main__":
    main()
