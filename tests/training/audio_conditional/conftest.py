"""A data set of striped images, with encodings in its metadata and in a file."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.audio_conditional.encoded_clips import (
    ENCODINGS,
    SIDE,
    add_column,
    file_encodings,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Striped images with encodings in a column of the metadata."""
    directory = make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)
    add_column(directory, "encoding", lambda label, number: ENCODINGS[label])
    return directory


@pytest.fixture(scope="module")
def file(dataset: Path) -> Path:
    """The same encodings in a file, with two tokens each."""
    path = dataset.parent / "encodings.safetensors"
    save_file(file_encodings(dataset), path)
    return path
