"""Reading a sharded data set over HTTP: once, again when it breaks off, and within limits."""

from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from riffusion.datasets import shard_folder, shard_storage
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.datasets.shard_storage import ATTEMPTS
from riffusion.errors import InputError
from tests.datasets.file_server import serve_files
from tests.datasets.sharded import pixels

SOCKET_BYTES = 16 * 2**20
"""More than a connection holds that nobody has read."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_storage, "_FIRST_PAUSE_S", 0.0)


def test_over_http_each_tar_file_is_read_once(shards: Path) -> None:
    local = pixels(ShardedFolder(str(shards)), "train")
    with serve_files(shards) as server:
        server.breaks["train-00003.tar"] = 2  # then it is read as a whole
        folder = ShardedFolder(server.url)
        found = pixels(folder, "train")
        assert server.reads["train-00003.tar"] == 3
        names = [f"train-{number:05}.tar" for number in (0, 1, 2, 4, 5, 6, 7)]
        assert [server.reads[name] for name in names] == [1] * 7
    assert found.keys() == local.keys()
    for name, (text, image) in local.items():
        assert found[name][0] == text
        np.testing.assert_array_equal(found[name][1], image)


def test_a_url_that_breaks_off_or_is_not_there(shards: Path) -> None:
    with serve_files(shards) as server:
        with pytest.raises(InputError, match=r"/no/shards.json' does not exist; check the address"):
            ShardedFolder(f"{server.url}/no")
        folder = ShardedFolder(f"{server.url}/")
        server.breaks["train-00000.tar"] = ATTEMPTS
        with pytest.raises(
            InputError, match=r"train-00000.tar' .* tried 4 times\); check the conn"
        ):
            folder.read_image("train", folder.rows("train")[0])
        assert isinstance(folder.read_image("train", folder.rows("train")[0]), Image.Image)
    with pytest.raises(
        InputError, match=r"shards.json' cannot be read \(.*tried 4 times"
    ) as caught:
        ShardedFolder(server.url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["shards.json", "train/metadata.jsonl", "train-00000.tar"])
def test_a_server_that_sends_without_end_is_read_up_to_the_limit(
    name: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are those of the index; its own is `MAX_INDEX_BYTES`."""
    limit = 2**22
    monkeypatch.setattr(shard_folder, "MAX_INDEX_BYTES", limit)
    if name != "shards.json":
        limit = (shards / name).stat().st_size
    with serve_files(shards) as server:
        server.endless.add(name)
        with pytest.raises(InputError, match=rf"{name}' .*more than {limit} bytes\); copy it"):
            folder = ShardedFolder(server.url)
            folder.read_image("train", folder.rows("train")[0])
        assert server.reads[name] == 1
        assert server.sent[name] < limit + SOCKET_BYTES


@pytest.mark.parametrize(
    ("status", "attempts"),
    [(400, 1), (401, 1), (403, 1), (410, 1), (408, ATTEMPTS), (429, ATTEMPTS), (503, ATTEMPTS)],
)
def test_an_answer_that_stays_the_same_is_not_asked_for_again(
    status: int, attempts: int, shards: Path
) -> None:
    name = "train-00002.tar"
    with serve_files(shards) as server:
        folder = ShardedFolder(server.url)
        server.statuses[name] = status
        with pytest.raises(InputError, match=rf"{name}' (may not|cannot) be read \({status}, "):
            pixels(folder, "train")
        assert server.reads[name] == attempts
        del server.statuses[name]
        assert len(pixels(folder, "train")) == len(folder.rows("train"))


def test_the_settings_of_fsspec_are_kept(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"client_kwargs": {"headers": {"Authorization": "Bearer of mine"}}}
    monkeypatch.setitem(fsspec.config.conf, "http", settings)
    with serve_files(shards) as server:
        ShardedFolder(server.url)
        assert server.credentials == {"Bearer of mine"}


def test_a_server_whose_headers_never_end_is_given_up(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "train-00001.tar"
    with serve_files(shards) as server:
        folder = ShardedFolder(server.url)
        server.slow_headers.add(name)
        monkeypatch.setattr(shard_storage, "SILENCE_S", 0.5)
        monkeypatch.setattr(shard_storage, "SLOWEST_BYTES_PER_S", 1e6)
        with pytest.raises(InputError, match="nothing came for 0.5 s, or less .*; tried 4 times"):
            pixels(folder, "train")


@pytest.mark.parametrize("limit", ["SILENCE_S", "SLOWEST_BYTES_PER_S"])
def test_a_server_that_is_too_slow_is_given_up(
    limit: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends a byte per tenth of a second: too long a silence, or too few bytes."""
    name = "train-00001.tar"
    with serve_files(shards) as server:
        folder = ShardedFolder(server.url)
        server.slow.add(name)
        if limit == "SILENCE_S":
            monkeypatch.setattr(shard_storage, limit, 0.02)
        else:
            monkeypatch.setattr(shard_storage, "SILENCE_S", 2.0)
            monkeypatch.setattr(shard_storage, limit, 1e6)
        with pytest.raises(
            InputError, match=rf"{name}' cannot be read \(nothing came for .*; tried 4 times"
        ):
            pixels(folder, "train")
