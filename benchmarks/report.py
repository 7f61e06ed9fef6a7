"""Run benchmarks, each in a process of its own, and write docs/benchmarks.md from their results.

python -m benchmarks.report [--only inversion,clip] [--song FILE]

Results stay in benchmarks/results/, so one of them can be measured again without the others.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

`make bench` measures everything again and writes this page; `python -m benchmarks.report --only
NAMES` does some of it. Machines are noisy: trust the ratios, which come from runs in turn, more
than the seconds.
"""


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
        "amplitudes, and of the picture (amplitudes to the power of 0.25), which counts quiet "
        "bands as much as loud ones. Medians of 3 runs, in turn in one process.",
        "No sound looks quite like a picture that a model drew, so both stay further from those. "
        '"song" '
        "is a recording of 5.12 s that is not part of the repository (`--song`).\n\n"
        "![original, torchaudio's and our spectrograms](images/inversion_comparison.png)",
    ),
    Section(
        "clip",
        "One clip through the real Truss server",
        "JSON in, MP3 out, embedded checkpoint, img2img over `og_beat` at denoising 1. Medians of "
        "5 requests, in turn.",
    ),
    Section(
        "dataset_build",
        "A folder of audio to pictures",
        "An hour of stereo FLAC to 512×512 pictures: `riffusion dataset build` on two cores "
        "against a loop of librosa and Pillow that draws the same pictures (checked pixel by "
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
    parts.append("## Not measured here\nA CUDA GPU and the full-size checkpoint.\n")
    return "\n".join(parts)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [section.name for section in SECTIONS]
    parser.add_argument(
        "--only", help="names with commas; none of them with ''", default=",".join(names)
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
