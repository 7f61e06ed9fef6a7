"""Run benchmarks, each in a process of its own, and write docs/benchmarks.md from their results.

python -m benchmarks.report [--only inversion,clip] [--song FILE]

Results stay in benchmarks/results/, so one of them can be measured again without the others.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import listeners, results

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

`make bench` measures everything again and writes this page; `python -m benchmarks.report --only
NAMES` does some of it. Machines are noisy: trust the ratios, which come from runs in turn, more
than the seconds.
"""


NEED_GPU = ("full_size",)
LISTENERS = """## Listeners a GPU: a ceiling
A jam asks for a clip every 5.12 s. A clip of the full-size checkpoint costs this much arithmetic
(UNet rows, two a guided step, and the VAE's decoder; the seed's encoding is cached), and no
program does it faster than the data sheet's rate for half-precision matrices. That gives a
ceiling, not a measurement; "the full-size checkpoint" above says what share of it was reached,
where that was measured."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: of the benchmark's module, and of its result.
        title, text: above its table.
        below: under it.
    """

    name: str
    title: str
    text: str
    below: str = ""


SECTIONS = (
    Section(
        "inversion",
        "Mel amplitudes to a waveform",
        "One mono clip of 5.12 s at the default parameters on 2 threads, ours against "
        "`torchaudio.transforms.InverseMelScale` and `GriffinLim(n_fft=17640, n_iter=32, "
        "momentum=0.99)`. SC is spectral convergence with the best gain, lower is better: of mel "
        "amplitudes, and of the image (amplitudes to the power of 0.25), which counts quiet "
        "bands as much as loud ones. Medians of 3 runs, in turn in one process.",
        "No sound looks quite like an image that a model drew, so both stay further from those. "
        '"song" '
        "is a recording of 5.12 s that is not part of the repository (`--song`).\n\n"
        "![original, torchaudio's and our spectrograms](images/inversion_comparison.png)",
    ),
    Section(
        "published_inversion",
        "… and against the published algorithm",
        "The same, against 200 iterations of gradient descent for the inverse mel, which the "
        "published system does on a CPU for every clip, and then Griffin-Lim.",
    ),
    Section(
        "clip",
        "One clip through the real Truss server",
        "JSON in, MP3 out, embedded checkpoint, img2img over `og_beat` at denoising 1. Medians of "
        "5 requests, in turn.",
    ),
    Section(
        "steps",
        "Fewer steps",
        "How far an image is from the converged one, which DDIM draws in 150 steps from the same "
        "noise: mean absolute difference in grey levels of 255, embedded checkpoint.",
        "Even at 50 steps all are 2 to 3 from it, so there is little to gain below that. `fast` is "
        "where DPM-Solver++ gets there, with guidance in the first three quarters of the steps; "
        "`balanced` leaves a margin; `reference` is upstream's setting.\n\n"
        "![distance over steps](images/steps.png)",
    ),
    Section(
        "concurrency",
        "Many clients at once",
        "Clips of 20 steps, JSON in and MP3 out, from the real Truss server with continuous "
        "batching, against the same server with batching off (`RIFFUSION_MAX_LIVE=1`); a client "
        "asks for the next clip when it has the last one. Latencies are the median and the 95th "
        "percentile.",
        "Where one clip keeps all cores busy, batching can gain only what larger UNet calls do "
        'better than small ones. What it gains on a GPU is under "The full-size checkpoint on a '
        'CUDA GPU", where measured.',
    ),
    Section(
        "cold_start",
        "From the start of a process to a loaded checkpoint",
        "The full Stable Diffusion 1.5 shape in single precision from local safetensors, on the "
        "CPU. Memory counts pages that are mapped from files.",
    ),
    Section(
        "full_size",
        "The full-size checkpoint on a CUDA GPU",
        "Stable Diffusion 1.5's shape with random weights: `python -m benchmarks.full_size` (on a "
        "bare machine `scripts/benchmark_on_gpu.sh`), under 8 minutes on one GPU, against an eager "
        "half-precision loop as the published system does it, and against diffusers' "
        "`StableDiffusionImg2ImgPipeline`.",
    ),
    Section(
        "dataset_build",
        "A folder of audio to images",
        "An hour of stereo FLAC to 512×512 images: `riffusion dataset build` on two cores "
        "against a loop of librosa and Pillow that draws the same images (checked pixel by "
        "pixel), scaled from five minutes.",
    ),
)


def page() -> str:
    """The page, from the results that are there."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        result = results.load(section.name)
        parts.append(f"## {section.title}\n{section.text}\n")
        if result is None:
            parts.append("Not measured here.\n")
        else:
            parts.append(f"{result.table}\n")
            parts.append(f"Measured on {result.date} on {result.machine}; {result.versions}.\n")
            if section.below:
                parts.append(f"{section.below}\n")
    parts.append(f"{LISTENERS}\n\n{listeners.markdown()}\n")
    return "\n".join(parts)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [section.name for section in SECTIONS]
    possible = [n for n in names if n not in NEED_GPU or torch.cuda.is_available()]
    parser.add_argument(
        "--only",
        help="names with commas, none of them with ''; default all that this machine can run",
        default=",".join(possible),
    )
    parser.add_argument("--song", type=Path, help="a recording to invert, too")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name]
    if unknown := sorted({*chosen} - {*names}):
        parser.error(f"--only={unknown[0]} is no benchmark; known: {', '.join(names)}")
    for name in chosen:
        arguments = ["--song", str(options.song)] if name == "inversion" and options.song else []
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
