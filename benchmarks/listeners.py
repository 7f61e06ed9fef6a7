"""The maximum number of endless jams per GPU, computed from its data sheet.

    python -m benchmarks.listeners

A jam requests a clip every 5.12 s. A clip takes at least its arithmetic divided by the rate of
half-precision matrix products in the GPU's data sheet, so this is an upper limit and not a
measurement: `benchmarks.full_size` measures what share of it is reached.
"""

import argparse
import math
from dataclasses import dataclass

from benchmarks.sd15_shape import DECODER_TFLOP, UNET_TFLOP
from riffusion.datatypes import CLIP_DURATION_S, PRESETS


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Args:
        name: product name.
        tflops: half-precision matrix rate in TFLOP/s without sparsity, from its data sheet.
    """

    name: str
    tflops: float


GPUS = (Gpu("A10G", 70), Gpu("H100 SXM", 989))


def unet_rows(preset: str) -> int:
    """Total rows of the UNet calls of one guided clip."""
    steps = int(PRESETS[preset]["num_inference_steps"])
    if PRESETS[preset]["scheduler"] == "lcm":  # distilled: the UNet is told the guidance scale
        return int(PRESETS[preset]["num_inference_steps"])
    first, last = PRESETS[preset].get("guidance_interval", (0.0, 1.0))
    return sum(2 if first <= step / steps < last else 1 for step in range(steps))


def markdown() -> str:
    """The computation as a table."""
    lines = [
        "| preset | UNet rows | TFLOP per clip | "
        + " | ".join(f"{gpu.name}, {gpu.tflops:g} TFLOP/s: seconds | maximum jams" for gpu in GPUS)
        + " |",
        "|---" * (3 + 2 * len(GPUS)) + "|",
    ]
    for preset in PRESETS:
        rows = unet_rows(preset)
        tflop = rows * UNET_TFLOP + DECODER_TFLOP
        cells = [preset, str(rows), f"{rows} × {UNET_TFLOP} + {DECODER_TFLOP} = {tflop:.1f}"]
        for gpu in GPUS:
            seconds = tflop / gpu.tflops
            cells += [f"{seconds:.3f}", str(math.floor(CLIP_DURATION_S / seconds))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(markdown())


if __name__ == "__main__":
    main()
