"""A small data set of images."""

from pathlib import Path

import pytest

from tests.datasets.striped_dataset import make_striped_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes")
