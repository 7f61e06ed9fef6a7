"""What can be seen of the UNet runner without a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.runtime import cuda_graphs as unet_runner
from riffusion.runtime.cuda_graphs import BATCH_SIZES, CudaGraphRunner, padded_size


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (3, 4), (5, 6), (7, 8), (16, 16), (17, None)])
def test_calls_are_padded_to_the_next_size(rows: int, size: int | None) -> None:
    assert padded_size(rows) == size


def test_padding_wastes_at_most_a_third() -> None:
    for rows in range(1, max(BATCH_SIZES) + 1):
        size = padded_size(rows)
        assert size is not None
        assert (size - rows) / size <= 1 / 3


def test_padding_repeats_the_last_row() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    padded = unet_runner._padded(rows, 4)
    assert torch.equal(padded[:3], rows)
    assert torch.equal(padded[3], rows[2])


def test_on_a_cpu_the_unet_is_called_as_it_is() -> None:
    calls = []

    def unet(rows: torch.Tensor, timesteps: torch.Tensor, **options: object) -> tuple[torch.Tensor]:
        calls.append((len(rows), timesteps.tolist(), options["encoder_attention_mask"]))
        return (rows * 2,)

    rows, timesteps, embeddings = torch.ones(3, 4, 2, 2), torch.arange(3.0), torch.zeros(3, 5, 6)
    run = CudaGraphRunner()
    run.record(unet, rows, timesteps, embeddings)
    assert calls == []
    output = run(unet, rows, timesteps, embeddings)
    assert torch.equal(output, torch.full((3, 4, 2, 2), 2.0))
    assert calls == [(3, [0, 1, 2], None)]


def test_timesteps_between_whole_numbers_reach_the_unet(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As samplers of the published checkpoint have them; they aren't cut to whole numbers."""
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.scheduler.register_to_config(timestep_spacing="linspace")
    seen: list[float] = []
    call = pipeline.unet.forward

    def listening(rows: torch.Tensor, timesteps: torch.Tensor, **options: Any) -> Any:
        assert timesteps.dtype == torch.float32
        seen.extend(timesteps.tolist())
        return call(rows, timesteps, **options)

    monkeypatch.setattr(pipeline.unet, "forward", listening)
    inputs = InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 1, "guidance": 1.0},
            "mode": "txt2img",
            "duration_s": 0.16,
            "scheduler": "lms",
            "num_inference_steps": 7,
        }
    )
    job = pipeline.prepare(inputs)
    expected = job.timesteps.float().tolist()
    while not job.is_done:
        pipeline.step([job])
    assert seen == expected
    assert any(timestep != round(timestep) for timestep in seen)
