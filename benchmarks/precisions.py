"""Exported precisions by their clips: PSNR to the first folder, and what an independent ear hears.

python -m benchmarks.precisions exported-fp16 exported-w8 exported-int8

Each folder draws the same clips by the light engine. A sound's tag is one that is part of its name,
or else the one that the first folder's clips have more often than clips of other sounds; a clip has
it if it is among the first three of musicnn's tagger. Needs the extra `listening`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpora.general_midi.sounds import find_sounds
from riffusion.checkpoint.manifest import read_manifest
from riffusion.datatypes import InferenceInput
from riffusion.evaluation.audio import waveform_from_plane
from riffusion.evaluation.images import Plane, plane_from_image
from riffusion.evaluation.metrics.listening import TOP_TAGS, tag_of_label
from riffusion.evaluation.tagger import Tagger
from riffusion.light import pipeline as light
from riffusion.runtime.threads import single_threaded

PRESETS = ("fast", "instant")
"""By turns."""
GUIDANCE = 4.0
BATCH = 8
MAX_PSNR_DB = 100.0


@dataclass(frozen=True)
class Clips:
    """What one folder draws.

    Args:
        planes: of all clips.
        tags: (clips, tags) probabilities.
    """

    planes: list[Plane]
    tags: npt.NDArray[np.float64]

    @property
    def top(self) -> npt.NDArray[np.bool_]:
        """Whether a tag is among a clip's first: (clips, tags)."""
        ranks = (-self.tags).argsort(1, kind="stable").argsort(1, kind="stable")
        return ranks < TOP_TAGS


def main(folders: Sequence[Path], seeds: int) -> None:
    """Print a row per folder.

    Args:
        folders: exported checkpoints; the others are compared with the first.
        seeds: clips per sound and preset.
    """
    labels = [sound.label for sound in find_sounds() for _ in range(seeds * len(PRESETS))]
    tagger = Tagger.load()
    print("| precision | MB | PSNR, dB: median, worst | own tag | its probability | other tags |")
    print("|---|---|---|---|---|---|", flush=True)
    first: Clips | None = None
    for folder in folders:
        clips = _heard(folder, labels, tagger)
        first = first or clips
        own = _tags_of(labels, first, tagger.tags)
        manifest = read_manifest(folder)
        psnr_db = [_psnr_db(*pair) for pair in zip(clips.planes, first.planes, strict=True)]
        rows = np.arange(len(labels))
        cells = (
            manifest.precision,
            f"{manifest.network_bytes / 1e6:.1f}",
            f"{np.median(psnr_db):.1f}, {min(psnr_db):.1f}",
            f"{100 * clips.top[rows, own].mean():.1f} %",
            f"{100 * clips.tags[rows, own].mean():.1f} %",
            f"{100 * (clips.top & ~first.top).sum() / first.top.sum():.1f} %",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{len(labels)} clips of {len(set(labels))} sounds, presets {' and '.join(PRESETS)}.")


def _heard(folder: Path, labels: Sequence[str], tagger: Tagger) -> Clips:
    pipeline = light.LightPipeline.from_pretrained(folder)
    params = pipeline.spectrogram_params
    planes = list(_drawn(pipeline, labels))
    with single_threaded():
        heard = [
            tagger.hear(waveform_from_plane(plane, params), params.sample_rate) for plane in planes
        ]
    return Clips(planes, np.stack([each.tags for each in heard]).astype(np.float64))


def _drawn(pipeline: light.LightPipeline, labels: Sequence[str]) -> Iterator[Plane]:
    for begin in range(0, len(labels), BATCH):
        jobs = [
            pipeline.prepare(
                InferenceInput.parse(
                    {
                        "start": {"prompt": labels[seed], "seed": seed, "guidance": GUIDANCE},
                        "mode": "txt2img",
                        "preset": PRESETS[seed % len(PRESETS)],
                    }
                )
            )
            for seed in range(begin, min(begin + BATCH, len(labels)))
        ]
        while running := [job for job in jobs if not job.is_done]:
            pipeline.step(running)
        for image in pipeline.decode(jobs):
            yield plane_from_image(image, pipeline.spectrogram_params)


def _tags_of(labels: Sequence[str], clips: Clips, tags: Sequence[str]) -> list[int]:
    """The tag of each clip's sound."""
    names, top = np.array(labels), clips.top
    found = {label: tag_of_label(label, tags, top, names == label) for label in set(labels)}
    return [found[label] for label in labels]


def _psnr_db(found: Plane, expected: Plane) -> float:
    error = float(np.mean(np.square(found.astype(np.float64) - expected)))
    return min(MAX_PSNR_DB, 10 * np.log10(255**2 / error)) if error else MAX_PSNR_DB


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    main(given.folders, given.seeds)
