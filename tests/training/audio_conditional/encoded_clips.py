"""Configurations for data sets with encodings of two labels."""

import json
from pathlib import Path
from typing import Any

import torch

from riffusion.datasets.folder import DatasetFolder
from tests.datasets.striped_dataset import LABELS
from tests.training.recipe_runs import QUIET

SIDE = 16
WIDTH = 4
ENCODINGS = {
    label: [2.0 * (number == place) for number in range(WIDTH)]
    for place, label in enumerate(LABELS)
}
"""One encoding per label."""
NETWORK = {"tokens": 2, "width": 8, "channels": [8, 8], "groups": 4}
Weights = dict[str, torch.Tensor]


def add_column(directory: Path, column: str, value_of: Any) -> None:
    """Add a column to the metadata; `value_of` gets a row's label and number."""
    for split in ("train", "validation"):
        lines = (directory / split / "metadata.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for number, row in enumerate(rows):
            row[column] = value_of(row["label"], number)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (directory / split / "metadata.jsonl").write_text(text)


def file_encodings(dataset: Path) -> Weights:
    folder = DatasetFolder(dataset)
    return {
        f"{split}/{row.file_name}": torch.tensor([ENCODINGS[row.label]] * 2)
        for split in ("train", "validation")
        for row in folder.rows(split)  # type: ignore[arg-type] # a split
    }


def config_of(
    dataset: Path, output: Path, encoder: dict[str, Any], steps: int = 60, **others: Any
) -> dict[str, Any]:
    return {
        "task": "audio_conditional",
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 8, "caption_dropout": 0.1},
        "encoder": encoder,
        "unet": {
            "block_out_channels": [16, 32],
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "attention_head_dim": 2,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": min(5, steps), "weight_decay": 0.0},
        "sample": {"images": 2, "steps": 3},
        "run": QUIET | {"steps": steps},
        **others,
    }
