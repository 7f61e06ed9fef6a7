"""The emulated CUDA device finds the faults that it is there to find."""

from collections.abc import Iterator

import pytest
import torch

from tests.runtime import emulated_cuda
from tests.runtime.emulated_cuda import Device, EmulationError


@pytest.fixture
def cuda() -> Iterator[Device]:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch) as device:
        yield device


def test_results_are_those_of_the_cpu_and_stay_on_the_device(cuda: Device) -> None:
    values = torch.arange(6.0).view(2, 3)
    moved = values.to("cuda")
    result = torch.nn.functional.softmax(moved @ moved.T, dim=1)
    assert result.device == torch.device("cuda:0")
    assert torch.equal(result.cpu(), torch.nn.functional.softmax(values @ values.T, dim=1))


def test_each_wait_is_counted(cuda: Device) -> None:
    tensor = torch.ones(3, device="cuda")
    assert cuda.num_waits == 0
    for number, wait in enumerate(
        (
            lambda: torch.ones(3).to("cuda"),
            lambda: tensor.cpu(),
            lambda: tensor.sum().item(),
            lambda: bool(tensor.isnan().any()),
            lambda: tensor[tensor > 0],
            lambda: tensor.nonzero(),
            lambda: torch.ones(3).copy_(tensor),
            lambda: torch.cuda.synchronize(),
            lambda: torch.linalg.solve(torch.eye(3, device="cuda"), tensor),
        )
    ):
        wait()
        assert cuda.num_waits >= number + 1, number


def test_devices_do_not_mix_but_for_scalars(cuda: Device) -> None:
    tensor = torch.ones(3, device="cuda")
    assert (tensor * torch.tensor(2.0)).cpu().tolist() == [2.0] * 3
    for mix in (lambda: tensor + torch.ones(3), lambda: torch.cat([tensor, torch.ones(1)])):
        with pytest.raises(EmulationError, match="one on the CPU"):
            mix()


def test_a_recording_refuses_waits_and_scalars_of_the_cpu(cuda: Device) -> None:
    tensor = torch.ones(3, device="cuda")
    for fault in (
        lambda: tensor.sum().item(),
        lambda: torch.ones(3).to("cuda"),
        lambda: tensor * torch.tensor(2.0),
    ):
        with (
            pytest.raises(EmulationError, match="while a graph is recorded"),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            fault()
        assert cuda.recording is None


def test_a_replay_reads_and_writes_the_recorded_memory(cuda: Device) -> None:
    static = torch.zeros(2, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = (static.view(2, 1) + 1).expand(2, 2).sum(1)
    static.copy_(torch.tensor([3.0, 4.0]).to("cuda"))
    graph.replay()
    assert output.cpu().tolist() == [8.0, 10.0]
    assert cuda.num_replays == 1
