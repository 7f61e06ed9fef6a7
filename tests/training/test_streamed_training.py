"""Training from tar files: a killed run resumes exactly, and processes read shards of their own."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.shard_folder import ShardedFolder
from riffusion.datasets.shard_storage import ShardStorage
from riffusion.datasets.shard_writer import write_shards
from riffusion.errors import InputError
from tests.datasets.file_server import FileServer, serve_files
from tests.serving.conftest import free_port
from tests.training.recipe_runs import write_config
from tests.training.streamed_runs import PROCESSES_TOLERANCE, config_of
from tests.training.trainer_runs import (
    SAVE_EVERY,
    die_after_step,
    exit_code,
    start,
    train,
    weights_of,
)


@pytest.fixture(scope="module")
def shards(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "shards"
    write_shards(DatasetFolder(dataset), directory, 400)
    return directory


@pytest.fixture
def server(shards: Path) -> Iterator[FileServer]:
    with serve_files(shards) as found:
        yield found


def record_reads(path: Path) -> None:
    """Note which tar files the process reads for training."""
    read = ShardStorage.read

    def noted(self: ShardStorage, name: str, max_bytes: int) -> bytes:
        with path.open("a") as file:
            file.write(f"{name}\n" if name.startswith("train-") else "")
        return read(self, name, max_bytes)

    ShardStorage.read = noted  # type: ignore[method-assign]


def test_a_killed_run_resumes_over_http_to_the_same_weights(
    server: FileServer, shards: Path, tmp_path: Path
) -> None:
    """From the folder, and from a web server with threads that read ahead."""
    train(config_of(str(shards), tmp_path / "whole", validate_every=6), tmp_path)
    config = config_of(server.url, tmp_path / "broken", validate_every=6)
    config["data"]["num_workers"] = 2
    path = write_config(config, tmp_path / "broken.yaml")
    assert exit_code(start(path, partial(die_after_step, SAVE_EVERY + 2))) == -signal.SIGKILL
    train(config, tmp_path)
    expected, found = weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not list((tmp_path / "broken").rglob("*.tar"))
    assert not (tmp_path / "broken/cache").exists()


def test_two_processes_are_one_with_the_double_batch_and_read_other_shards(
    shards: Path, tmp_path: Path
) -> None:
    def config_file(name: str, batch_size: int) -> Path:
        config = config_of(str(shards), tmp_path / name, batch_size, steps=4, save_every=0)
        return write_config(config, tmp_path / f"{name}.yaml")

    pair = config_file("pair", 2)
    variables = {
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    reads = [tmp_path / "reads 0", tmp_path / "reads 1"]
    processes = [
        start(
            pair,
            partial(record_reads, reads[rank]),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **variables,
        )
        for rank in range(2)
    ]
    processes.append(start(config_file("alone", 4), partial(record_reads, tmp_path / "reads")))
    assert [exit_code(process) for process in processes] == [0, 0, 0]
    alone, of_pair = (
        torch.cat([weight.flatten() for weight in weights_of(tmp_path / name).values()])
        for name in ("alone", "pair")
    )
    assert (of_pair - alone).norm() < PROCESSES_TOLERANCE * alone.norm()
    # The first process also reads some at the end, to scale the latents.
    even, odd = ({int(name[6:11]) % 2 for name in path.read_text().split()} for path in reads)
    assert odd == {1}
    assert even == {0, 1}


def test_what_a_stream_cannot_do_is_refused(shards: Path, tmp_path: Path) -> None:
    config = config_of(str(shards), tmp_path / "run")
    config["data"]["lanes"] = 9
    with pytest.raises(InputError, match=r"data\.lanes=9 exceeds the 8 shards"):
        train(config, tmp_path)
    folder = ShardedFolder(str(shards))
    with pytest.raises(InputError, match=r"has its images in tar files, which this does not read"):
        folder.image_path("train", folder.rows("train")[0])
