"""Warm-up: on CUDA it records graphs of the UNet's calls; CUDA's graphs are emulated on the CPU."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.runtime import emulated_graphs

MAX_LATENT_ERROR = 1e-4  # float32 sums in another order, latents of about 1
WARM_UP_CALLS = 3


@pytest.fixture
def pipeline(pristine: Path) -> RiffusionPipeline:
    """A pipeline whose clips of 5.12 s are 64 by 16 pixels."""
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16, step_size_ms=80)
    return pipeline


@pytest.fixture
def rows_of_calls(pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call of the UNet's Python code."""
    rows_of_calls: list[int] = []
    call = pipeline.unet.forward

    def counted(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        rows_of_calls.append(len(rows))
        return call(rows, *args, **options)

    monkeypatch.setattr(pipeline.unet, "forward", counted)
    return rows_of_calls


@pytest.fixture
def cuda(pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    emulated_graphs.install(monkeypatch)
    monkeypatch.setattr(type(pipeline), "device", torch.device("cuda"))


def request(**changes: Any) -> InferenceInput:
    start = {"prompt": "piano", "seed": 1}
    values = {"start": start, "mode": "txt2img", "num_inference_steps": 3, "scheduler": "ddim"}
    return InferenceInput.parse(values | changes)


def finished_latents(pipeline: RiffusionPipeline, inputs: InferenceInput) -> torch.Tensor:
    job = pipeline.prepare(inputs)
    while not job.is_done:
        pipeline.step([job])
    return job.latents


def test_on_a_cpu_each_batch_size_is_called_once(
    pipeline: RiffusionPipeline, rows_of_calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = pipeline.vae.decode

    def counted(latents: torch.Tensor, **options: Any) -> Any:
        decoded.append(len(latents))
        return decode(latents, **options)

    encoded: list[torch.Size] = []
    encode = pipeline.vae.encode

    def noted(pixels: torch.Tensor) -> Any:
        encoded.append(pixels.shape)
        return encode(pixels)

    monkeypatch.setattr(pipeline.vae, "decode", counted)
    monkeypatch.setattr(pipeline.vae, "encode", noted)
    pipeline.warm_up(batch_sizes=(1, 2, 4))
    assert encoded == [(1, 3, 16, 64)]  # of the usual length
    assert rows_of_calls == [4, 2, 1, 2]  # the largest first; then prompts of two lengths
    assert decoded == [2, 1]  # guided jobs have two rows, so four rows are two images


@pytest.mark.usefixtures("cuda")
def test_on_cuda_requests_after_warm_up_replay_graphs(
    pipeline: RiffusionPipeline, rows_of_calls: list[int]
) -> None:
    expected = finished_latents(pipeline, request())
    rows_of_calls.clear()
    pipeline.warm_up(batch_sizes=(1, 2))
    assert rows_of_calls == [2] * (WARM_UP_CALLS + 1) + [1] * (WARM_UP_CALLS + 1) + [2]
    rows_of_calls.clear()
    actual = finished_latents(pipeline, request())
    assert rows_of_calls == []
    assert (actual - expected).abs().max() < MAX_LATENT_ERROR


@pytest.mark.usefixtures("cuda")
def test_longer_clips_and_moved_networks_run_without_graphs(
    pipeline: RiffusionPipeline, rows_of_calls: list[int]
) -> None:
    pipeline.warm_up(batch_sizes=(2,))
    rows_of_calls.clear()
    finished_latents(pipeline, request(duration_s=10.24))
    assert rows_of_calls == [2, 2, 2]
    rows_of_calls.clear()
    pipeline.to(torch.float64)  # graphs would read the old weights
    finished_latents(pipeline, request())
    assert rows_of_calls == [2, 2, 2]


@pytest.mark.parametrize(("duration_s", "length"), [(1.0, 1.0), (5.12, 1.0), (10.24, 2.0)])
def test_relative_length(pipeline: RiffusionPipeline, duration_s: float, length: float) -> None:
    job = pipeline.prepare(request(duration_s=duration_s))
    assert pipeline.relative_length(job.shape) == length


@pytest.mark.usefixtures("cuda")
def test_a_lora_that_is_loaded_after_warm_up_changes_the_images(
    pipeline: RiffusionPipeline, rows_of_calls: list[int]
) -> None:
    """A recorded graph reads the old layers, and so would draw the old image."""
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline.warm_up(batch_sizes=(2,))
    before = finished_latents(pipeline, request())
    rows_of_calls.clear()
    pipeline.unet.add_adapter(
        LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q"])
    )
    layers = get_peft_model_state_dict(pipeline.unet)
    adapted = finished_latents(pipeline, request())
    assert rows_of_calls == [2, 2, 2]
    assert (adapted - before).abs().max() > 100 * MAX_LATENT_ERROR
    pipeline.unet.unload_lora()
    assert (finished_latents(pipeline, request()) - before).abs().max() < MAX_LATENT_ERROR
    pipeline.warm_up(batch_sizes=(2,))
    pipeline.unet.load_lora_adapter(layers, prefix=None)
    rows_of_calls.clear()
    loaded = finished_latents(pipeline, request())
    assert rows_of_calls == [2, 2, 2]
    assert (loaded - adapted).abs().max() < MAX_LATENT_ERROR


@pytest.mark.usefixtures("cuda")
def test_a_lora_that_is_loaded_before_warm_up_can_be_switched_off(
    pipeline: RiffusionPipeline,
) -> None:
    """Switches and weights of a LoRA are Python's: a graph would keep those that it recorded."""
    from peft import LoraConfig

    without = finished_latents(pipeline, request())
    pipeline.unet.add_adapter(
        LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q"])
    )
    pipeline.warm_up(batch_sizes=(2,))
    adapted = finished_latents(pipeline, request())
    pipeline.unet.disable_adapters()
    assert (finished_latents(pipeline, request()) - without).abs().max() < MAX_LATENT_ERROR
    pipeline.unet.enable_adapters()
    assert (finished_latents(pipeline, request()) - adapted).abs().max() < MAX_LATENT_ERROR
    assert (adapted - without).abs().max() > 100 * MAX_LATENT_ERROR


@pytest.mark.usefixtures("cuda")
def test_weights_and_modules_that_are_replaced_end_the_use_of_graphs(
    pipeline: RiffusionPipeline, rows_of_calls: list[int]
) -> None:
    unet = pipeline.unet
    changes = {
        "a weight": lambda: setattr(
            unet.conv_in, "weight", torch.nn.Parameter(unet.conv_in.weight * 2)
        ),
        "data of a weight": lambda: setattr(
            unet.conv_in.weight, "data", unet.conv_in.weight.data.clone()
        ),
        "a module": lambda: setattr(unet, "conv_out", copy.deepcopy(unet.conv_out)),
        "precision": lambda: unet.to(torch.float64).to(torch.float32),
    }
    for name, change in changes.items():
        pipeline.warm_up(batch_sizes=(2,))
        rows_of_calls.clear()
        finished_latents(pipeline, request())
        assert rows_of_calls == [], name
        change()
        finished_latents(pipeline, request())
        assert rows_of_calls == [2, 2, 2], name


@pytest.mark.usefixtures("cuda")
def test_weights_that_change_in_place_are_read_by_graphs(
    pipeline: RiffusionPipeline, rows_of_calls: list[int]
) -> None:
    pipeline.warm_up(batch_sizes=(2,))
    rows_of_calls.clear()
    before = finished_latents(pipeline, request())
    with torch.no_grad():
        pipeline.unet.conv_out.weight.mul_(1.5)
    after = finished_latents(pipeline, request())
    assert rows_of_calls == []
    assert (after - before).abs().max() > 100 * MAX_LATENT_ERROR


@pytest.mark.usefixtures("cuda")
def test_distilled_rows_replay_the_graphs_that_guided_rows_replay(
    model: TinyModel, tmp_path: Path
) -> None:
    folder = write_folder(distilled_copy(model), tmp_path)
    Distillation(8, (1.0, 10.0), guided_sampling=True).save(folder)
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16, step_size_ms=80)
    requests = [
        request(scheduler="lcm", start={"prompt": "piano", "seed": 1, "guidance": 2.0}),
        request(),
        request(scheduler="lcm", start={"prompt": "bells", "seed": 2, "guidance": 9.0}),
    ]
    expected = [finished_latents(pipeline, inputs) for inputs in requests]
    pipeline.warm_up(batch_sizes=(1, 2, 4))
    graphs = pipeline.unet_graphs
    graphs.num_direct_calls = 0
    alone = [finished_latents(pipeline, inputs) for inputs in requests]
    jobs = [pipeline.prepare(inputs) for inputs in requests]
    while not all(job.is_done for job in jobs):
        pipeline.step(jobs)
    together = [job.latents for job in jobs]
    assert (graphs.num_recorded, graphs.num_direct_calls) == (3, 0)
    for actual in (alone, together):
        for latents, known in zip(actual, expected, strict=True):
            assert (latents - known).abs().max() < MAX_LATENT_ERROR
    assert (expected[0] - expected[2]).abs().max() > 100 * MAX_LATENT_ERROR
