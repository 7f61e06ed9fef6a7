"""The two engines, torch and onnxruntime: parts, a clip by stage with and without HTTP, commands.

python -m benchmarks.engines
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import httpx

from benchmarks import engine_table, results
from benchmarks.engine_table import Compared
from benchmarks.ports import free_port
from benchmarks.running_process import WHOLE, running_process
from riffusion.checkpoint.manifest import read_manifest
from riffusion.exporting.report import measured_parts
from riffusion.generation.pipelines import EngineName
from riffusion.serving.local.truss_server import LocalTrussServer

EMBEDDED = Path(__file__).parents[1] / "data" / "demo-checkpoint"
REPEATS = 5
PRESETS = ("instant", "fast", "balanced")
COMMAND = "riffusion generate … --preset fast"
ENGINES = get_args(EngineName)

_MakeClip = Callable[[dict[str, Any]], dict[str, float]]
"""From a request to seconds by stage, and as `WHOLE`."""


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
    """Measure clips through a real Truss server per engine, without HTTP, and the command."""
    return [*_served_clips(repeats), *_clips_of_processes(repeats), _commands(repeats)]


def _served_clips(repeats: int) -> list[EngineRow]:
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=300, trust_env=False))

        def maker(engine: EngineName) -> _MakeClip:
            environment = {"RIFFUSION_ENGINE": engine}
            server = LocalTrussServer(port=free_port(), environment=environment)
            url = stack.enter_context(server).predict_url

            def make(request: dict[str, Any]) -> dict[str, float]:
                started = time.perf_counter()
                response = client.post(url, json=request).raise_for_status()
                seconds = time.perf_counter() - started
                return {WHOLE: seconds, **results.stages_s(response.headers["server-timing"])}

            return make

        makers = {engine: maker(engine) for engine in ENGINES}
        return _clips(makers, repeats, "a clip, `{}`")


def _clips_of_processes(repeats: int) -> list[EngineRow]:
    with ExitStack() as stack:
        makers: dict[EngineName, _MakeClip] = {
            engine: stack.enter_context(running_process(engine)) for engine in ENGINES
        }
        return _clips(makers, repeats, "… in a running process, `{}`")


def _clips(makers: dict[EngineName, _MakeClip], repeats: int, what: str) -> list[EngineRow]:
    """Clips of each preset, alternately with each engine.

    Args:
        makers: make clips, by engine.
        repeats: clips per preset and engine, after the first round, which warms up.
        what: name of the rows, with room for the preset's.
    """
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        preset: {engine: [] for engine in ENGINES} for preset in PRESETS
    }
    for repeat in range(repeats + 1):
        for preset in PRESETS:
            for engine, make in makers.items():
                request = {
                    "start": {"prompt": "church bells", "seed": repeat},
                    "preset": preset,
                    "mode": "txt2img",
                }
                stages_s = make(request)
                if repeat > 0:
                    found[preset][engine].append(stages_s)
    rows = []
    for preset, times in found.items():
        medians = {engine: _medians(times[engine]) for engine in ENGINES}
        whole = {engine: stages.pop(WHOLE) for engine, stages in medians.items()}
        rows.append(EngineRow(what.format(preset), whole, medians))
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
