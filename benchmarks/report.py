"""Measure everything and write docs/benchmarks.md, with this machine and today's date.

python -m benchmarks.report [--song FILE]
"""

import argparse
import datetime
import os
import platform
from pathlib import Path

import torch

from benchmarks import clip, inversion

DOCS = Path(__file__).parents[1] / "docs"
FIGURE = DOCS / "images" / "inversion_comparison.png"
TEMPLATE = """# Benchmarks

Measured on {date} on {machine}; torch {torch}, Python {python}. `make bench` writes this page
again. Machines are noisy: trust the ratios, which come from runs in turn in one process, more than
the seconds.

## Mel amplitudes to a waveform
One mono clip of 5.12 s at the default parameters on {threads} threads, ours against
`torchaudio.transforms.InverseMelScale` and `GriffinLim(n_fft=17640, n_iter=32, momentum=0.99)`. SC
is spectral convergence with the best gain, lower is better: of mel amplitudes, and of the picture
(amplitudes to the power of 0.25), which counts quiet bands as much as loud ones. Medians of
{repeats} runs.

{inversion}

No sound looks quite like a picture that a model drew, so both stay further from those.

![original, torchaudio's and our spectrograms](images/inversion_comparison.png)

## One clip through the real Truss server
JSON in, MP3 out, embedded checkpoint, img2img over `og_beat` at denoising 1. Medians of
{clip_repeats} requests.

{clip}

## Not measured here
A CUDA GPU, the full-size checkpoint, and many clients at once.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--song", type=Path, help="a recording to invert, too")
    options = parser.parse_args()
    rows, spectrograms = inversion.measure(options.song, Path("data/demo-checkpoint"))
    inversion.draw(dict(list(spectrograms.items())[:3]), FIGURE)
    page = TEMPLATE.format(
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        machine=_machine(),
        torch=torch.__version__,
        python=platform.python_version(),
        threads=inversion.NUM_THREADS,
        repeats=inversion.REPEATS,
        inversion=inversion.markdown(rows),
        clip_repeats=clip.REPEATS,
        clip=clip.markdown(clip.measure()),
    )
    (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")
    print(page)


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return f"{os.cpu_count()} cores of {cpu}"


if __name__ == "__main__":
    main()
