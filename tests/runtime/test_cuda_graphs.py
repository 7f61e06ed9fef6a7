"""UNet calls through CUDA graphs, with CUDA's graphs emulated on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.runtime.cuda_graphs import BATCH_SIZES, CudaGraphRunner, padded_size
from tests.runtime import emulated_graphs

TOKENS, WIDTH = 5, 6


class CountingUNet:
    """A UNet whose rows depend on each other, so that the padding shows; counts Python calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(
        self, rows: torch.Tensor, timesteps: torch.Tensor, **options: Any
    ) -> tuple[torch.Tensor]:
        self.num_calls += 1
        embeddings = options["encoder_hidden_states"].sum(dim=(1, 2))
        return (rows + rows.sum(dim=0) + (timesteps + embeddings)[:, None, None, None],)


@pytest.fixture
def unet() -> CountingUNet:
    return CountingUNet()


@pytest.fixture
def runner(unet: CountingUNet, monkeypatch: pytest.MonkeyPatch) -> CudaGraphRunner:
    """A runner with graphs for 2 and 4 rows."""
    emulated_graphs.install(monkeypatch)
    runner = CudaGraphRunner()
    for size in (2, 4):
        runner.record(unet, *inputs(size, seed=9))
    unet.num_calls = 0
    return runner


def inputs(num_rows: int, seed: int = 0, height: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(num_rows, 4, height, 2, generator=generator),
        torch.randn(num_rows, generator=generator),
        torch.randn(num_rows, TOKENS, WIDTH, generator=generator),
    )


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (3, 4), (5, 6), (7, 8), (16, 16), (17, None)])
def test_calls_are_padded_to_the_next_size(rows: int, size: int | None) -> None:
    assert padded_size(rows) == size


def test_padding_wastes_at_most_a_third() -> None:
    for rows in range(1, max(BATCH_SIZES) + 1):
        size = padded_size(rows)
        assert size is not None
        assert (size - rows) / size <= 1 / 3


@pytest.mark.parametrize("num_rows", [2, 4])
def test_a_replayed_graph_equals_the_call(
    runner: CudaGraphRunner, unet: CountingUNet, num_rows: int
) -> None:
    first, second = inputs(num_rows, seed=1), inputs(num_rows, seed=2)
    outputs = [runner(unet, *first), runner(unet, *second)]  # the second leaves the first alone
    assert unet.num_calls == 0
    for arguments, output in zip((first, second), outputs, strict=True):
        rows, timesteps, embeddings = arguments
        assert torch.equal(output, unet(rows, timesteps, encoder_hidden_states=embeddings)[0])


def test_padding_repeats_the_last_row(runner: CudaGraphRunner, unet: CountingUNet) -> None:
    arguments = inputs(3)
    output = runner(unet, *arguments)
    assert unet.num_calls == 0
    assert len(output) == 3
    rows, timesteps, embeddings = (tensor[[0, 1, 2, 2]] for tensor in arguments)
    assert torch.equal(output, unet(rows, timesteps, encoder_hidden_states=embeddings)[0][:3])


def test_calls_without_a_graph_run_directly(runner: CudaGraphRunner, unet: CountingUNet) -> None:
    ones = torch.ones(2, TOKENS)
    calls = {
        "mask": (unet, *inputs(2), ones),
        "longer clip": (unet, *inputs(2, height=3)),
        "not recorded": (unet, *inputs(6)),
        "too many rows": (unet, *inputs(17)),
        "half precision": (unet, *(tensor.half() for tensor in inputs(2))),
    }
    for number, arguments in enumerate(calls.values()):
        runner(*arguments)
        assert unet.num_calls == number + 1
    other = CountingUNet()
    runner(other, *inputs(2))
    assert other.num_calls == 1


def test_a_forgotten_graph_is_not_replayed(runner: CudaGraphRunner, unet: CountingUNet) -> None:
    runner.forget()
    runner(unet, *inputs(2))
    assert unet.num_calls == 1


def test_another_network_leaves_the_graphs_of_the_first(
    runner: CudaGraphRunner, unet: CountingUNet
) -> None:
    runner(CountingUNet(), *inputs(2))
    runner(unet, *inputs(2))
    assert unet.num_calls == 0


def test_a_network_never_gets_the_graphs_of_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new object may have the address, and so the `id`, of an old one."""
    emulated_graphs.install(monkeypatch)
    runner = CudaGraphRunner()
    dead = CountingUNet()
    runner.record(dead, *inputs(2))
    address = id(dead)
    del dead
    news = [CountingUNet() for _ in range(1000)]
    assert any(id(new) == address for new in news) or len(news) == 1000
    for new in news:
        runner(new, *inputs(2))
        assert new.num_calls == 1
    assert runner.num_recorded == 0


def test_a_failed_recording_leaves_the_others_and_restores_the_stream(
    unet: CountingUNet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    emulated_graphs.install(monkeypatch)
    current = object()
    restored = []
    monkeypatch.setattr(torch.cuda, "set_stream", restored.append)
    runner = CudaGraphRunner()
    assert runner.record(unet, *inputs(4))
    record = torch.cuda.graph
    with monkeypatch.context() as broken:
        broken.setattr(runner, "_on_side_stream", lambda work: work())
        broken.setattr(torch.cuda, "current_stream", lambda device=None: current)
        broken.setattr(torch.cuda, "graph", lambda *args, **options: 1 / 0)
        assert not runner.record(unet, *inputs(2))
    assert torch.cuda.graph is record
    assert restored == [current]
    assert (runner.num_recorded, runner.num_failed) == (1, 1)
    assert "no CUDA graph for 2 rows, so these calls take longer: division by zero" in caplog.text
    unet.num_calls = 0
    runner(unet, *inputs(2))  # padded to no larger size: each size has its own graph
    runner(unet, *inputs(4))
    assert (unet.num_calls, runner.num_replays) == (1, 1)


def test_without_graphs_the_unet_is_called_with_the_arguments_unchanged() -> None:
    calls = []

    def unet(rows: torch.Tensor, timesteps: torch.Tensor, **options: object) -> tuple[torch.Tensor]:
        calls.append((len(rows), timesteps.tolist(), options["encoder_attention_mask"]))
        return (rows * 2,)

    rows, timesteps, embeddings = torch.ones(3, 4, 2, 2), torch.arange(3.0), torch.zeros(3, 5, 6)
    output = CudaGraphRunner()(unet, rows, timesteps, embeddings)
    assert torch.equal(output, torch.full((3, 4, 2, 2), 2.0))
    assert calls == [(3, [0, 1, 2], None)]


@pytest.fixture
def pipeline(pristine: Path) -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(pristine, device="cpu")


def test_fractional_timesteps_reach_the_unet(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samplers of the published checkpoint have timesteps between whole numbers."""
    pipeline.scheduler.register_to_config(timestep_spacing="linspace")
    seen: list[float] = []
    call = pipeline.unet.forward

    def recorded(rows: torch.Tensor, timesteps: torch.Tensor, **options: Any) -> Any:
        assert timesteps.dtype == torch.float32
        seen.extend(timesteps.tolist())
        return call(rows, timesteps, **options)

    monkeypatch.setattr(pipeline.unet, "forward", recorded)
    job = pipeline.prepare(
        InferenceInput.parse(
            {
                "start": {"prompt": "piano", "seed": 1, "guidance": 1.0},
                "mode": "txt2img",
                "duration_s": 0.16,
                "scheduler": "lms",
                "num_inference_steps": 7,
            }
        )
    )
    expected = job.timesteps.float().tolist()
    while not job.is_done:
        pipeline.step([job])
    assert seen == expected
    assert any(timestep != round(timestep) for timestep in seen)
