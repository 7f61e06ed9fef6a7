"""Time from the start of a process until it is ready: full Stable Diffusion 1.5 shape, float32.

python -m benchmarks.cold_start

Each loader runs in new processes, alternating with the other, after one run of each that fills the
disk cache. Ready means that all weights are in memory, not just mapped. Memory is the maximum
resident memory, mapped pages of files included, minus that of the same process after its imports.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import results
from benchmarks.sd15_shape import write_checkpoint

REPEATS = 2
LOADERS = {
    "ours": "from riffusion.diffusion import RiffusionPipeline as Pipeline\n"
    "options = {'device': 'cpu', 'torch_dtype': torch.float32}",
    "diffusers": "from diffusers import StableDiffusionImg2ImgPipeline as Pipeline\n"
    "options = {'torch_dtype': torch.float32, 'safety_checker': None}",
}
_PROCESS = """
import json, resource, sys, time
import torch
{imports}

def resident_bytes(name):
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(name))
    return int(line.split()[1]) * 1024

imported = resident_bytes("VmRSS")
started = time.perf_counter()
pipeline = Pipeline.from_pretrained({folder!r}, **options)
networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
weights = [weight for network in networks for weight in network.parameters()]
for weight in weights:
    weight.data.view(-1)[::1024].sum()  # reads mapped weights page by page
loaded_s = time.perf_counter() - started
total = sum(weight.nbytes for weight in weights)
print(json.dumps(dict(load_s=loaded_s, peak=resident_bytes("VmHWM") - imported, weights=total)))
"""


@dataclasses.dataclass(frozen=True)
class ColdStartRow:
    """One loader.

    Args:
        name: key of `LOADERS`.
        process_s: seconds from starting Python to its end, imports included.
        load_s: seconds of loading.
        peak_over_weights: maximum memory beyond that after the imports / size of the weights.
        weights_gib: size of all weights.
    """

    name: str
    process_s: float
    load_s: float
    peak_over_weights: float
    weights_gib: float


def measure() -> list[ColdStartRow]:
    """Run the loaders alternately."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "sd15"
        write_checkpoint(folder, torch.float32)
        runs: dict[str, list[ColdStartRow]] = {name: [] for name in LOADERS}
        for repeat in range(REPEATS + 1):
            for name in LOADERS:
                row = _load(name, folder)
                if repeat > 0:
                    runs[name].append(row)
    return [_median(rows) for rows in runs.values()]


def _load(name: str, folder: Path) -> ColdStartRow:
    code = _PROCESS.format(imports=LOADERS[name], folder=str(folder))
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    process_s = time.perf_counter() - started
    found = json.loads(process.stdout.splitlines()[-1])
    return ColdStartRow(
        name,
        process_s,
        found["load_s"],
        found["peak"] / found["weights"],
        found["weights"] / 2**30,
    )


def _median(rows: list[ColdStartRow]) -> ColdStartRow:
    return ColdStartRow(
        rows[0].name,
        statistics.median(row.process_s for row in rows),
        statistics.median(row.load_s for row in rows),
        max(row.peak_over_weights for row in rows),
        rows[0].weights_gib,
    )


def markdown(rows: list[ColdStartRow]) -> str:
    """The rows as a table."""
    slowest = max(row.process_s for row in rows)
    lines = [
        f"{rows[0].weights_gib:.2f} GiB of weights.",
        "",
        "| | process start to ready, s | loading alone, s | peak memory / weights | ratio |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.process_s:.1f} | {row.load_s:.1f} | {row.peak_over_weights:.2f} "
        f"| {slowest / row.process_s:.1f}× |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and save the result."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = measure()
    results.save("cold_start", rows, markdown(rows))


if __name__ == "__main__":
    main()
