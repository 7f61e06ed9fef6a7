"""How many endless jams a GPU can sustain at most, worked out from its data sheet.

    python -m benchmarks.listeners

A jam asks for a clip every 5.12 s. No program is faster than the clip's arithmetic at the rate
that the GPU's data sheet promises for half-precision matrices, so this is a ceiling and not a
measurement: `benchmarks.full_size` measures what share of it is reached, on a GPU at hand.
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
        name: as it is sold.
        tflops: half-precision matrix rate without sparsity, by its data sheet.
    """

    name: str
    tflops: float


GPUS = (Gpu("A10G", 70), Gpu("H100 SXM", 989))


def unet_rows(preset: str) -> int:
    """Rows of all UNet calls of one guided clip."""
    steps = int(PRESETS[preset]["num_inference_steps"])
    first, last = PRESETS[preset].get("guidance_interval", (0.0, 1.0))
    return sum(2 if first <= step / steps < last else 1 for step in range(steps))


def markdown() -> str:
    """The arithmetic as a table."""
    lines = [
        "| preset | UNet rows | TFLOP a clip | "
        + " | ".join(f"{gpu.name}, {gpu.tflops:g} TFLOP/s: seconds | jams at most" for gpu in GPUS)
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
