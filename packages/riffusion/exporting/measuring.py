"""Time and memory of exported parts, measured in a process of its own: needs no torch.

    python -m riffusion.exporting.measuring FOLDER '{"threads": 2, "rows": 1, …}' unet

prints JSON: milliseconds per call for each named part (median, after one call that isn't counted),
and the process' peak memory in MB with all of them loaded.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.checkpoint.manifest import read_manifest
from riffusion.light.sessions import session_options

MAX_CALLS = 15
MAX_SECONDS = 10.0
"""Calls stop after this time, or `MAX_CALLS`."""
_INTEGERS = "tensor(int64)"
_STATUS = Path("/proc/self/status")


def milliseconds(call: Callable[[], object]) -> float:
    """Median time of a call, after one that isn't counted."""
    call()
    times: list[float] = []
    while len(times) < MAX_CALLS and sum(times) < MAX_SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def peak_megabytes() -> float | None:
    """Peak memory of this process; None where the system doesn't say."""
    if not _STATUS.is_file():  # Linux alone; getrusage would count the parent's memory, too
        return None
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def random_inputs(session: Any, sizes: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """Inputs for a session.

    Args:
        session: onnxruntime's.
        sizes: of its free axes, by name.
    """
    generator = np.random.default_rng(0)
    inputs: dict[str, npt.NDArray[Any]] = {}
    for value in session.get_inputs():
        shape = [sizes.get(size, size) for size in value.shape]
        if value.type == _INTEGERS:
            inputs[value.name] = np.zeros(shape, np.int64)
        elif value.name == "encoder_attention_mask":
            inputs[value.name] = np.ones(shape, np.float32)
        else:
            inputs[value.name] = generator.normal(size=shape).astype(np.float32)
    return inputs


def measure(folder: Path, numbers: dict[str, int], parts: Sequence[str]) -> dict[str, float | None]:
    """Milliseconds by part, and `peak_mb`, of parts that are loaded together.

    Args:
        folder: an exported checkpoint.
        numbers: `threads`, `pixels_per_latent`, and sizes of the free axes, `height` and `width` in
            latents.
        parts: names of parts.
    """
    import onnxruntime

    manifest = read_manifest(folder, hashes=False)
    found: dict[str, float | None] = {}
    sessions = []
    for part in parts:
        options = session_options(numbers["threads"])
        path = str(manifest.graph_path(folder, part))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        factor = numbers["pixels_per_latent"] if part == "vae_encoder" else 1
        scaled = {name: numbers[name] * factor for name in ("height", "width")}
        inputs = random_inputs(session, numbers | scaled)
        found[part] = milliseconds(lambda it=session, values=inputs: it.run(None, values))  # type: ignore[misc] # a lambda's defaults have no types
        sessions.append(session)
    return found | {"peak_mb": peak_megabytes()}


if __name__ == "__main__":
    result = measure(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
    sys.stdout.write(json.dumps(result) + "\n")
