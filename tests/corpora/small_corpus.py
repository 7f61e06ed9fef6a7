"""A small labelled data set: four sounds of our own instruments as images of 64 × 64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from riffusion.checkpoint.files import read_json
from riffusion.checkpoint.manifest import MANIFEST_NAME, describe_file
from riffusion.datasets.folder import (
    SPLITS,
    DatasetRow,
    Split,
    claim_directory,
    write_metadata,
)
from riffusion.io.images import write_image
from riffusion.loops.drums import closed_hat, kick, snare
from riffusion.loops.instruments import electric_piano, marimba, pad, upright_bass
from riffusion.loops.oscillators import SAMPLE_RATE, Signal
from riffusion.loops.rendering import add_circularly
from riffusion.loops.seed_images import loop_image
from riffusion.spectrogram.params import SpectrogramParams

SIDE = 64
PARAMS = SpectrogramParams(
    num_frequencies=SIDE, step_size_ms=20, window_duration_ms=100, padded_duration_ms=200
)
NUM_SAMPLES = SIDE * PARAMS.hop_length
BEATS = 4
KINDS = {"drums": "beat", "duo": "mixture", "marimba": "instrument", "pad": "instrument"}
LABELS = tuple(sorted(KINDS))
HELD_OUT_TEMPLATE = "sentence"
CLIPS: dict[Split, int] = {"train": 16, "validation": 6}
"""Clips per label."""

Player = Callable[[np.random.Generator], list[tuple[Signal, float]]]
"""Makes notes with the beats that they start at."""


def _pitch_hz(rng: np.random.Generator, low: int, high: int) -> float:
    """Frequency of a random note of the A minor pentatonic scale, MIDI numbers in [low, high)."""
    notes = [note for note in range(low, high) if note % 12 in (9, 0, 2, 4, 7)]
    return float(440 * 2 ** ((int(rng.choice(notes)) - 69) / 12))


def _drums(rng: np.random.Generator) -> list[tuple[Signal, float]]:
    hits = [(kick(0, 0, rng), beat) for beat in (0.0, 2.0)]
    hits += [(snare(0, 0, rng), beat) for beat in (1.0, 3.0)]
    return hits + [(0.5 * closed_hat(0, 0, rng), beat / 2) for beat in range(8)]


def _marimba(rng: np.random.Generator) -> list[tuple[Signal, float]]:
    return [(marimba(_pitch_hz(rng, 60, 84), 0.3, rng), beat / 2) for beat in range(8)]


def _pad(rng: np.random.Generator) -> list[tuple[Signal, float]]:
    return [(0.3 * pad(_pitch_hz(rng, 48, 72), 1.3, rng), 0.0) for _ in range(3)]


def _duo(rng: np.random.Generator) -> list[tuple[Signal, float]]:
    notes = [(upright_bass(_pitch_hz(rng, 33, 50), 0.3, rng), float(beat)) for beat in range(4)]
    chord = [(0.4 * electric_piano(_pitch_hz(rng, 60, 76), 0.6, rng), 0.5) for _ in range(3)]
    return notes + chord


PLAYERS: dict[str, Player] = {"drums": _drums, "duo": _duo, "marimba": _marimba, "pad": _pad}


def play(label: str, seed: int) -> Image.Image:
    """The image of one clip."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    loop = np.zeros(NUM_SAMPLES)
    for note, beat in PLAYERS[label](rng):
        add_circularly(loop, note * rng.uniform(0.7, 1), round(beat / BEATS * NUM_SAMPLES))
    return loop_image(0.2 * loop[None].astype(np.float32), PARAMS)


def tone_image(frequency_hz: float, num_frames: int = 256) -> Image.Image:
    """A steady tone at the default parameters, 512 rows."""
    params = SpectrogramParams()
    t = np.arange(num_frames * params.hop_length) / SAMPLE_RATE
    cycles = round(frequency_hz * t[-1])  # whole cycles, so that the loop has no seam
    tone = 0.3 * np.sin(2 * np.pi * cycles / t[-1] * t)
    return loop_image(tone[None].astype(np.float32), params)


def write_small_corpus(directory: Path, params: SpectrogramParams = PARAMS) -> Path:
    """Write the data set: `CLIPS` per label, no clip in both splits."""
    claim_directory(directory, "small corpus", {}, params)
    for split in SPLITS:
        rows = []
        for label in LABELS:
            for number in range(CLIPS[split]):
                name = f"{label}_{number:03}.png"
                folder = directory / split
                folder.mkdir(exist_ok=True)
                write_image(play(label, number + 1000 * SPLITS.index(split)), folder / name)
                rows.append(_row(label, name, split))
        write_metadata(directory, split, rows)
    return directory


def _row(label: str, name: str, split: Split) -> DatasetRow:
    captions = {"bare": label, "slow": f"slow {label}"}
    if split == "validation":
        captions[HELD_OUT_TEMPLATE] = f"music for {label}"
    return DatasetRow(
        file_name=name,
        text=label,
        captions=tuple(captions.values()),
        wordings=tuple(captions),
        label=label,
        kind=KINDS[label],
    )


def shared_small_corpus(base: Path) -> Path:
    """The data set, written once per test run; tests must not change it.

    Args:
        base: pytest's base folder of temporary files.
    """
    directory = base / "small_corpus"
    if not directory.exists():
        write_small_corpus(directory)
    return directory


def demo_checkpoint(directory: Path, params: SpectrogramParams = PARAMS) -> Path:
    """A copy of the embedded checkpoint with other spectrogram parameters."""
    embedded = Path(__file__).resolve().parents[2] / "data" / "demo-checkpoint"
    for path in embedded.rglob("*.*"):
        link = directory / path.relative_to(embedded)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    (directory / "spectrogram_params.json").unlink()
    params.save(directory)
    manifest = read_json(embedded / MANIFEST_NAME)
    params_file = describe_file(directory / "spectrogram_params.json")
    manifest["files"]["spectrogram_params.json"] = params_file.model_dump()
    (directory / MANIFEST_NAME).unlink()
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest))
    return directory
