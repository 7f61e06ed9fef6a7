"""A tiny data set of striped images: horizontal stripes are tones, vertical stripes are beats."""

from pathlib import Path

import numpy as np
from PIL import Image

from riffusion.datasets.folder import SPLITS, DatasetRow, claim_directory, write_metadata
from riffusion.spectrogram.params import SpectrogramParams

LABELS = ("tone", "beat")
SIDE = 32


def striped_params(side: int = SIDE) -> SpectrogramParams:
    """Parameters with few frames per second, as samples have a clip's usual length."""
    return SpectrogramParams(num_frequencies=side, step_size_ms=40)


def make_striped_dataset(
    directory: Path,
    rows_per_label: int = 12,
    side: int = SIDE,
    params: SpectrogramParams | None = None,
) -> Path:
    """Write `rows_per_label` images of each label to each split."""
    params = params or striped_params(side)
    claim_directory(directory, "test", {"rows_per_label": rows_per_label}, params)
    rng = np.random.default_rng(0)
    for split in SPLITS:
        rows = []
        for number in range(rows_per_label):
            for label in LABELS:
                pixels = np.full((side, side), 255, dtype=np.uint8)
                period, phase = int(rng.integers(4, 9)), int(rng.integers(0, 4))
                if label == "tone":
                    pixels[phase::period] = 40
                else:
                    pixels[:, phase::period] = 40
                name = f"{label}_{number}.png"
                (directory / split).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(directory / split / name)
                captions = (label, f"a {label}", f"{label}, steady")
                rows.append(DatasetRow(name, label, captions, label=label, kind="instrument"))
        write_metadata(directory, split, rows)
    return directory
