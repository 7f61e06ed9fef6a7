"""The two engines, torch and onnxruntime: parts, a clip by stage, and whole commands.

python -m benchmarks.engines
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import httpx

from benchmarks import engine_table, results
from benchmarks.engine_table import Compared
from benchmarks.ports import free_port
from riffusion.checkpoint.manifest import read_manifest
from riffusion.exporting.report import measured_parts
from riffusion.generation.pipelines import EngineName
from riffusion.serving.local.truss_server import LocalTrussServer

EMBEDDED = Path(__file__).parents[1] / "data" / "demo-checkpoint"
REPEATS = 5
PRESETS = ("instant", "fast", "balanced")
COMMAND = "riffusion generate … --preset fast"
ENGINES = get_args(EngineName)
_WHOLE = "whole"


@dataclasses.dataclass(frozen=True)
class EngineRow:
    """Median seconds with each engine, measured alternately.

    Args:
        what: what was measured.
        seconds: by engine.
        stages_s: by engine, and by stage of the clip as the server measures it.
    """

    what: str
    seconds: dict[str, float]
    stages_s: dict[str, dict[str, float]]


def measure(repeats: int = REPEATS) -> list[EngineRow]:
    """Measure clips through a real Truss server per engine, and the command."""
    return [*_clips(repeats), _commands(repeats)]


def _clips(repeats: int) -> list[EngineRow]:
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        preset: {engine: [] for engine in ENGINES} for preset in PRESETS
    }
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=300, trust_env=False))
        servers = {
            engine: stack.enter_context(
                LocalTrussServer(port=free_port(), environment={"RIFFUSION_ENGINE": engine})
            )
            for engine in ENGINES
        }
        for repeat in range(repeats + 1):  # the first round warms up
            for preset in PRESETS:
                for engine, server in servers.items():
                    request = {
                        "start": {"prompt": "church bells", "seed": repeat},
                        "preset": preset,
                        "mode": "txt2img",
                    }
                    started = time.perf_counter()
                    response = client.post(server.predict_url, json=request).raise_for_status()
                    seconds = time.perf_counter() - started
                    if repeat > 0:
                        stages = results.stages_s(response.headers["server-timing"])
                        found[preset][engine].append({_WHOLE: seconds, **stages})
    rows = []
    for preset, times in found.items():
        medians = {engine: _medians(times[engine]) for engine in ENGINES}
        whole = {engine: stages.pop(_WHOLE) for engine, stages in medians.items()}
        rows.append(EngineRow(f"a clip, `{preset}`", whole, medians))
    return rows


def _commands(repeats: int) -> EngineRow:
    """From the start of a process to an MP3, with compiled Python files as an installation has."""
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        for repeat in range(repeats + 1):
            for engine in ENGINES:
                command = f"-m riffusion generate bells --seed 1 --preset fast --engine {engine}"
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command.split(), "-o", str(Path(folder) / "bells.mp3")],
                    check=True,
                    capture_output=True,
                    env=variables,
                )
                if repeat > 0:
                    seconds[engine].append(time.perf_counter() - started)
    medians = {engine: statistics.median(times) for engine, times in seconds.items()}
    return EngineRow(f"`{COMMAND}`, from the start of the process", medians, {})


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _parts() -> list[Compared]:
    """Milliseconds of each part, and memory of a process with all four."""
    measured = measured_parts(str(EMBEDDED), {EMBEDDED: read_manifest(EMBEDDED)})
    rows = [
        Compared(f"{row.part}, one row", row.torch_ms, row.onnxruntime_ms, "ms")
        for row in measured.rows
    ]
    (light_mb,) = measured.whole_mb.values()
    what = "peak memory of a process with all four parts, one row each"
    return [*rows, Compared(what, measured.torch_mb, light_mb, "MB")]


def rows_of(rows: list[EngineRow]) -> list[Compared]:
    """Rows of the table."""
    return [
        Compared(
            row.what,
            row.seconds["torch"],
            row.seconds["light"],
            "s",
            ", ".join(
                f"{stage} {seconds:.2f} → {row.stages_s['light'][stage]:.2f}"
                for stage, seconds in row.stages_s.get("torch", {}).items()
            ),
        )
        for row in rows
    ]


def main() -> None:
    """Measure and save the result."""
    rows = [*_parts(), *rows_of(measure())]
    results.save("engines", rows, engine_table.markdown(rows))


if __name__ == "__main__":
    main()
