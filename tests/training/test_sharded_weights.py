"""FSDP2 on two processes without a GPU: whole weights are those that were sharded and trained."""

import copy
import os
from pathlib import Path

import torch
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from riffusion.training.sharded_weights import load_whole_weights, whole_weights
from tests.serving.conftest import free_port
from tests.training.trainer_runs import _processes, exit_code

TOLERANCE = 1e-6
"""Two processes sum halves of a batch, one the whole."""


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def steps(module: nn.Module, rows: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for _ in range(3):
        module(rows).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def train_sharded(rank: int, port: int, path: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    init_process_group("gloo", rank=rank, world_size=2)
    module = network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (module[0], module[2], module):  # type: ignore[index]
        fully_shard(layer, mesh=mesh)
    assert all(isinstance(weight, DTensor) for weight in module.parameters())
    steps(module, torch.arange(20.0).reshape(4, 5)[2 * rank : 2 * rank + 2] / 10)
    torch.save(whole_weights(module), path / f"{rank}.pt")
    destroy_process_group()


def test_whole_weights_are_those_of_a_run_on_one_process(tmp_path: Path) -> None:
    port = free_port()
    processes = [
        _processes().Process(target=train_sharded, args=(rank, port, tmp_path)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    assert [exit_code(process) for process in processes] == [0, 0]
    alone = network()
    before = copy.deepcopy(alone)
    steps(alone, torch.arange(20.0).reshape(4, 5) / 10)
    for rank in range(2):
        loaded = network()
        load_whole_weights(loaded, torch.load(tmp_path / f"{rank}.pt"))
        for weight, expected, old in zip(
            loaded.parameters(), alone.parameters(), before.parameters(), strict=True
        ):
            assert torch.allclose(weight, expected, atol=TOLERANCE)
            assert not torch.allclose(weight, old, atol=100 * TOLERANCE)
    untouched = network()
    load_whole_weights(untouched, whole_weights(before))
    assert all(map(torch.equal, untouched.parameters(), before.parameters()))
