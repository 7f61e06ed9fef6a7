"""Distance to the converged image by number of steps, for each scheduler and preset.

python -m benchmarks.steps [--prompts 4]

The converged image is DDIM's result with 150 steps from the same noise, with guidance in every
step. Distances are mean absolute differences in grey levels of 255. Schedulers that add noise in
every step (Euler a, LCM) converge to other images by design, and are left out, and so are presets
that use one of them.
"""

import argparse
import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results
from riffusion.datatypes import PRESETS, InferenceInput
from riffusion.diffusion import RiffusionPipeline

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "steps.png"
SCHEDULERS = ("pndm", "ddim", "dpmsolver++", "unipc", "euler")
LEVELS = (2, 3, 5, 10, 20, 50)
STEPS = (4, 6, 8, 10, 12, 16, 20, 30, 50)
NUM_PROMPTS = 4
PROMPTS = ("church bells", "piano", "techno beat", "jazz trio", "violin", "rock drums")
GUIDANCE = 7.0
CONVERGED = {"scheduler": "ddim", "num_inference_steps": 150}


@dataclasses.dataclass(frozen=True)
class StepsRow:
    """One scheduler with a number of steps, or one preset.

    Args:
        name: name of the scheduler or preset.
        steps: requested number of steps.
        distance: mean distance over the prompts, in grey levels of 255.
        seconds: median time per image.
    """

    name: str
    steps: int
    distance: float
    seconds: float


def measure(num_prompts: int, pipeline: RiffusionPipeline) -> list[StepsRow]:
    """Draw every prompt with every scheduler and preset.

    Args:
        num_prompts: how many of `PROMPTS` are drawn.
        pipeline: the checkpoint; it can do guided sampling.
    """
    prompts = PROMPTS[:num_prompts]
    converged = [_draw(pipeline, prompt, CONVERGED)[0] for prompt in prompts]
    methods: list[tuple[str, dict[str, Any]]] = [
        (scheduler, {"scheduler": scheduler, "num_inference_steps": steps})
        for scheduler in SCHEDULERS
        for steps in STEPS
    ]
    methods += [
        (f"preset {name}", {"preset": name})
        for name, fields in PRESETS.items()
        if fields["scheduler"] in SCHEDULERS
    ]
    rows = []
    for name, fields in methods:
        drawn = [_draw(pipeline, prompt, fields) for prompt in prompts]
        rows.append(
            StepsRow(
                name,
                int(
                    fields.get("num_inference_steps")
                    or PRESETS[fields["preset"]]["num_inference_steps"]
                ),
                float(np.mean([_distance(a, b[0]) for a, b in zip(converged, drawn, strict=True)])),
                float(np.median([seconds for _, seconds in drawn])),
            )
        )
    return rows


def _draw(
    pipeline: RiffusionPipeline, prompt: str, fields: dict[str, Any]
) -> tuple[Image.Image, float]:
    """An image, and the seconds that it took."""
    inputs = InferenceInput.parse(
        {
            "start": {"prompt": prompt, "seed": 1, "guidance": GUIDANCE},
            "mode": "txt2img",
            **fields,
        }
    )
    started = time.perf_counter()
    image: Image.Image = pipeline(inputs).images[0]
    return image, time.perf_counter() - started


def _distance(first: Image.Image, second: Image.Image) -> float:
    levels = [np.asarray(image.convert("L"), np.float64) for image in (first, second)]
    return float(np.abs(levels[0] - levels[1]).mean())


def plot(rows: list[StepsRow]) -> bytes:
    """Plot distance by steps as PNG: a line per scheduler, a mark per preset."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in SCHEDULERS:
        line = [row for row in rows if row.name == name]
        axes.plot([r.steps for r in line], [r.distance for r in line], marker=".", label=name)
    for row in rows:
        if row.name.startswith("preset "):
            axes.plot(row.steps, row.distance, "k*", markersize=11)
            at_the_edge = row.steps == max(STEPS)
            axes.annotate(
                row.name.removeprefix("preset "),
                (row.steps, row.distance),
                (-8, -12) if at_the_edge else (6, 6),
                textcoords="offset points",
                ha="right" if at_the_edge else "left",
            )
    axes.set(
        xscale="log", yscale="log", xlabel="steps", ylabel="grey levels from the converged image"
    )
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.set_xticks([], minor=True)
    axes.set_yticks(LEVELS, [str(level) for level in LEVELS])
    axes.set_yticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, dpi=130, format="png")
    return stream.getvalue()


def markdown(rows: list[StepsRow]) -> str:
    """Tables: distances by scheduler and steps, and the presets with their times."""
    lines = [
        f"| steps | {' | '.join(str(steps) for steps in STEPS)} |",
        "|---" * (len(STEPS) + 1) + "|",
    ]
    for name in SCHEDULERS:
        distances = (f"{row.distance:.1f}" for row in rows if row.name == name)
        lines.append(f"| {name} | {' | '.join(distances)} |")
    lines += [
        "",
        "| preset | steps | distance in grey levels | seconds of diffusion and decoding |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.name.removeprefix('preset ')} | {row.steps} | {row.distance:.1f} "
        f"| {row.seconds:.2f} |"
        for row in rows
        if row.name.startswith("preset ")
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, save the result, and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=NUM_PROMPTS)
    options = parser.parse_args()
    rows = measure(options.prompts, RiffusionPipeline.from_pretrained(device=None))
    results.save("steps", rows, markdown(rows))
    FIGURE.write_bytes(plot(rows))


if __name__ == "__main__":
    main()
