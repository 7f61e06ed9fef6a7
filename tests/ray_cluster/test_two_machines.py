"""Training on two machines, both this one: `accelerate launch` twice, as the docs say.

It runs with the tests of Ray, as it takes long: every process imports torch.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.shard_writer import write_shards
from tests.datasets.file_server import serve_files
from tests.datasets.striped_dataset import make_striped_dataset
from tests.needs import ROOT
from tests.patience import PATIENCE_S, wait_until
from tests.serving.conftest import free_port
from tests.training.recipe_runs import write_config
from tests.training.streamed_runs import PROCESSES_TOLERANCE, config_of
from tests.training.trainer_runs import weights_of


def launch(config: Path, rank: int, port: int, **environment: str) -> subprocess.Popen[bytes]:
    """Start the processes of one machine."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    options: dict[str, Any] = {
        "--num_machines": 2,
        "--num_processes": 2,  # of both machines together
        "--machine_rank": rank,
        "--main_process_ip": "127.0.0.1",
        "--main_process_port": port,
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
    }
    command += ["--multi_gpu", *(str(text) for option in options.items() for text in option)]
    paths = os.pathsep.join([str(ROOT / "packages"), str(ROOT)])
    variables = {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "-m", "riffusion", "train", str(config)],
        env={**os.environ, **variables, **environment},
        start_new_session=True,
    )


def statuses(machines: list[subprocess.Popen[bytes]]) -> list[int]:
    """Exit codes, when all have ended."""
    end = time.monotonic() + PATIENCE_S
    try:
        return [machine.wait(max(1, end - time.monotonic())) for machine in machines]
    finally:
        for machine in machines:
            kill(machine)


def kill(machine: subprocess.Popen[bytes]) -> None:
    """Kill a machine's processes, as a power cut does."""
    if machine.poll() is None:
        os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()


def flat_weights(output: Path) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights_of(output).values()])


def test_two_machines_are_one_with_the_double_batch_after_a_power_cut(tmp_path: Path) -> None:
    """They stream tar files from a web server; in the middle, both die and are started again."""
    shards = tmp_path / "shards"
    write_shards(DatasetFolder(make_striped_dataset(tmp_path / "images")), shards, 400)
    run = {"steps": 9, "save_every": 3}
    with serve_files(shards) as server:
        alone = write_config(
            config_of(server.url, tmp_path / "alone", 4, **run), tmp_path / "a.yaml"
        )
        pair = write_config(config_of(server.url, tmp_path / "pair", 2, **run), tmp_path / "p.yaml")
        command = [sys.executable, "-m", "riffusion", "train", str(alone)]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

        port = free_port()
        machines = [launch(pair, rank, port) for rank in range(2)]
        state = tmp_path / "pair/states/step-00000003"
        try:
            wait_until(state.is_dir, "no state")
        finally:
            for machine in machines:
                kill(machine)
        port = free_port()
        assert statuses([launch(pair, rank, port) for rank in range(2)]) == [0, 0]
    expected, found = flat_weights(tmp_path / "alone"), flat_weights(tmp_path / "pair")
    assert (found - expected).norm() < PROCESSES_TOLERANCE * expected.norm()


def test_a_folder_that_machines_do_not_share_is_refused(tmp_path: Path) -> None:
    images = make_striped_dataset(tmp_path / "images")
    port = free_port()
    machines = []
    for rank in range(2):
        config = config_of(str(images), tmp_path / f"disk of {rank}", 2, steps=2)
        path = write_config(config, tmp_path / f"{rank}.yaml")
        machines.append(launch(path, rank, port))
    assert all(statuses(machines))
    assert not (tmp_path / "disk of 0/checkpoint").exists()
