"""Runs benchmarks, each in a new process, and writes docs/benchmarks.md from their results.

python -m benchmarks.report [--only inversion,clip] [--song FILE]

Results are saved in benchmarks/results/, so a benchmark can be repeated without the others.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import browser, engine_table, listeners, results

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

`make bench` measures everything again and writes this page; `python -m benchmarks.report --only
NAMES` measures some of it. Machines are noisy: trust the ratios, which come from alternating runs,
more than the seconds.
"""


NEED_GPU = ("full_size",)
LISTENERS = """## Listeners per GPU: an upper limit
A jam requests a clip every 5.12 s. The table has the arithmetic of a clip of the full-size
checkpoint (UNet rows, two per guided step, and the VAE's decoder; the latents of the seed image are
cached), divided by the rate of half-precision matrix products in the GPU's data sheet. This is an
upper limit, not a measurement; the section on the full-size checkpoint says what share of it was
reached, if that was measured."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: name of the benchmark's module and of its result.
        title, text: text above the table.
        below: text below the table.
        more: further benchmarks, whose rows are added to the table.
    """

    name: str
    title: str
    text: str
    below: str = ""
    more: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All benchmarks of the section."""
        return (self.name, *self.more)


SECTIONS = (
    Section(
        "inversion",
        "Mel amplitudes to a waveform",
        "One mono clip of 5.12 s at the default parameters on 2 threads, ours compared with "
        "`torchaudio.transforms.InverseMelScale` and `GriffinLim(n_fft=17640, n_iter=32, "
        "momentum=0.99)`. SC is spectral convergence with the best gain, lower is better: of mel "
        "amplitudes, and of the image (amplitudes to the power of 0.25), which gives quiet bands "
        "as much weight as loud ones. Medians of 3 alternating runs in one process.",
        "An image that a model drew is not exactly the spectrogram of any audio, so both are less "
        "accurate on those. `--song` adds a recording of yours.\n\n"
        "![original, torchaudio's and our spectrograms](images/inversion_comparison.png)",
    ),
    Section(
        "published_inversion",
        "… and compared with the published algorithm",
        "The same, compared with 200 iterations of gradient descent for the inverse mel, which the "
        "published system does on a CPU for every clip, and then Griffin-Lim.",
    ),
    Section(
        "clip",
        "One clip through the real Truss server",
        "JSON in, MP3 out, embedded checkpoint, img2img over `og_beat` at denoising 1. Medians of "
        "5 requests, alternating between the presets.",
    ),
    Section(
        "engines",
        "Torch against light",
        "Each part of the embedded checkpoint (weights in half precision, computed in float32) in "
        "torch and in onnxruntime; clips from noise from two real servers, one per engine "
        "(`RIFFUSION_ENGINE`), JSON in, MP3 out, and in a process that has loaded the checkpoint, "
        "without HTTP; the whole command; installations without an extra and with torch; and the "
        "page without a server. Clips and commands are medians of 5 alternating runs; the server "
        "or process that isn't asked is idle.",
        more=("installs", "browser"),
    ),
    Section(
        "steps",
        "Fewer steps",
        "Distance of an image to the converged one, which is DDIM's with 150 steps from the same "
        "noise: mean absolute difference in grey levels of 255, embedded checkpoint.",
        "Even with 50 steps all distances are about 4, so smaller ones have little value. `fast` "
        "and `balanced` are guided in the first half of the steps only, while the converged image "
        "is guided throughout: they draw other images. `reference` is upstream's setting. "
        "`instant` is left out, as its clips are others, too; "
        "[the model card](../data/demo-checkpoint/README.md#scores) has what a tagger hears.\n\n"
        "![distance over steps](images/steps.png)",
    ),
    Section(
        "editing",
        "Edits of recordings",
        "A loop of ours, 24 s, with the embedded checkpoint, from the open recording to the written"
        " file. Restyling is compared with the published playground's way through a recording, "
        "whose clips are drawn and made audible by this package; repainting with a new clip of "
        "5.12 s. Medians of 3 alternating runs.",
        "A ratio above 1 means that the edit is faster.",
    ),
    Section(
        "concurrency",
        "Many clients at once",
        "Clips of 20 steps, JSON in and MP3 out, from the real Truss server with continuous "
        "batching, compared with the same server with batching off (`RIFFUSION_MAX_LIVE=1`). Each "
        "client requests its clips one after the other. Latencies are the median and the 95th "
        "percentile.",
        "If one clip keeps all cores busy, batching gains only what larger UNet calls do more "
        'efficiently. Its gain on a GPU is in "The full-size checkpoint on a CUDA GPU", if '
        "measured.",
    ),
    Section(
        "busy_machine",
        "Beside a busy process",
        "Whole commands on a machine that is idle otherwise, and beside one process that keeps a "
        "core busy, with the default of GNU's OpenMP runtime and with this package's setting "
        "(`riffusion/__init__.py`). Medians of 2 alternating runs.",
    ),
    Section(
        "cold_start",
        "From the start of a process to a loaded checkpoint",
        "The full Stable Diffusion 1.5 shape in single precision from local safetensors, on the "
        "CPU. Memory includes pages that are mapped from files.",
    ),
    Section(
        "full_size",
        "The full-size checkpoint on a CUDA GPU",
        "Stable Diffusion 1.5's shape with random weights: `python -m benchmarks.full_size` (on a "
        "bare machine `scripts/benchmark_on_gpu.sh`), under 8 minutes on one GPU, compared with "
        "the published system's eager half-precision loop, and with diffusers' "
        "`StableDiffusionImg2ImgPipeline`.",
        below="`python -m benchmarks.gpu_checks`, the same day on the same GPU: warm-up with 7 "
        "CUDA graphs 17 s, 6.2 GiB reserved; the same clip 20 times gives the same bytes of "
        "image and audio; a clip beside 1, 3 or 7 others differs by at most 1 of 255 from the clip "
        "alone, with all eight schedulers; 16 rows take 61 to 66 ms with every scheduler. A "
        "clip's audio takes 173 ms alone and 169 ms beside 16 rows (192 ms without a stream of "
        "high priority): it is what limits many clients here, not the UNet. channels_last "
        "changes nothing (60.3 ms against 59.3). After a device-side assert every clip fails "
        "with an error, and the service reports itself unhealthy after three.",
    ),
    Section(
        "dataset_build",
        "A folder of audio to images",
        "An hour of stereo FLAC to 512×512 images: `riffusion dataset build` on two cores "
        "compared with a loop of librosa and Pillow that makes the same images (checked pixel by "
        "pixel), scaled from five minutes.",
    ),
)


def page() -> str:
    """The page, made from the saved results."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n{section.text}\n")
        parts.append(_measured(section))
    parts.append(f"{LISTENERS}\n\n{listeners.markdown()}\n")
    return "\n".join(parts)


def _measured(section: Section) -> str:
    """Table, origin and the text below, from the saved results."""
    found = {name: results.load(name) for name in section.names}
    saved = {name: result for name, result in found.items() if result is not None}
    if not saved:
        return "Not measured here.\n"
    tables = [result.table for result in saved.values()]
    origins = {
        f"on {result.date} on {result.machine}; {result.versions}" for result in saved.values()
    }
    lines = [engine_table.joined(tables) if section.more else tables[0], ""]
    if len(origins) == 1:
        lines.append(f"Measured {origins.pop()}.")
    else:  # not all at once
        lines += [
            f"{name}: measured on {result.date} on {result.machine}; {result.versions}.  "
            for name, result in saved.items()
        ]
    if section.below:
        lines += ["", section.below]
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the chosen benchmarks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [name for section in SECTIONS for name in section.names]
    impossible = set() if torch.cuda.is_available() else {*NEED_GPU}
    impossible |= set() if browser.is_possible() else {"browser"}
    possible = [name for name in names if name not in impossible]
    parser.add_argument(
        "--only",
        help="names separated by commas, '' for none; default: all that this machine can run",
        default=",".join(possible),
    )
    parser.add_argument("--song", type=Path, help="a recording that is also inverted")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name]
    if unknown := sorted({*chosen} - {*names}):
        parser.error(f"--only={unknown[0]} is no benchmark; known: {', '.join(names)}")
    failed = []
    for name in chosen:
        arguments = ["--song", str(options.song)] if name == "inversion" and options.song else []
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}")
    if failed:
        again = ",".join(failed)
        sys.exit(f"{again} failed, so the page has earlier results; repeat with --only {again}")


if __name__ == "__main__":
    main()
