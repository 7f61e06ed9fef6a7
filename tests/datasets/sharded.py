"""What tests of sharded data sets share."""

import numpy as np

from riffusion.datasets.folder import DatasetFolder, Split

SHARD_BYTES = 400
"""Size of the tar files to write: three images each."""


def pixels(folder: DatasetFolder, split: Split) -> dict[str, tuple[str, np.ndarray]]:
    """Caption and image of each row, by the image's name."""
    return {
        row.file_name: (row.text, np.asarray(folder.read_image(split, row)))
        for row in folder.rows(split)
    }
