"""A data set of striped images, and its tar files."""

from pathlib import Path

import pytest

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.shard_writer import write_shards
from tests.datasets.sharded import SHARD_BYTES
from tests.datasets.striped_dataset import make_striped_dataset


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def shards(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "shards"
    write_shards(DatasetFolder(images), directory, SHARD_BYTES)
    return directory
