"""The pipeline on an emulated CUDA device, in half precision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.job import DenoisingJob
from riffusion.engine import Engine
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.runtime import emulated_cuda
from tests.runtime.emulated_cuda import Device

HEIGHT, WIDTH = 16, 64
STEPS = 4
SCHEDULERS = (
    None, "pndm", "ddim", "dpmsolver++", "unipc", "euler", "euler_a", "lms", "lcm",
)  # fmt: skip
DRAWING = ("euler_a", "lcm")
"""Schedulers that draw noise in each step, on the CPU, and copy it to the GPU."""
MODES = ("txt2img", "img2img", "mask")
MAX_WAITS_PER_CALL = 1
"""The timesteps of all rows are one copy."""
MAX_GREY_LEVELS = 3
"""Half precision of the UNet and the VAE against single, in 8 bits."""
TIMEOUT_S = 300.0
LONG_PROMPT = "piano and bells " * 30

Row = tuple[str | None, str]
TABLE: list[Row] = [
    *((scheduler, "mask") for scheduler in SCHEDULERS),  # which includes img2img
    *((scheduler, mode) for scheduler in (None, "euler_a", "unipc") for mode in MODES[:2]),
]


def image(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def request(scheduler: str | None = None, mode: str = "txt2img", **start: Any) -> InferenceInput:
    fields: dict[str, Any] = {"start": {"prompt": "piano", "seed": 1, "denoising": 1.0} | start}
    fields["mode"] = "txt2img" if mode == "txt2img" else "img2img"
    return InferenceInput.parse(fields | {"num_inference_steps": STEPS, "scheduler": scheduler})


def small(folder: Path, device: str) -> RiffusionPipeline:
    """A pipeline whose clips of 5.12 s are 64 by 16 pixels."""
    pipeline = RiffusionPipeline.from_pretrained(folder, device=device)
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=HEIGHT, step_size_ms=80)
    return pipeline


def prepared(pipeline: RiffusionPipeline, scheduler: str | None, mode: str) -> DenoisingJob:
    mask = image(5) if mode == "mask" else None
    return pipeline.prepare(request(scheduler, mode), image(), mask)


def finished(pipeline: RiffusionPipeline, jobs: list[DenoisingJob]) -> list[np.ndarray]:
    while not all(job.is_done for job in jobs):
        pipeline.step(jobs)
    return [np.asarray(picture, dtype=int) for picture in pipeline.decode(jobs)]


@pytest.fixture(scope="module")
def cuda() -> Iterator[Device]:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch) as device:
        yield device


@pytest.fixture(scope="module")
def on_cpu(pristine: Path) -> RiffusionPipeline:
    return small(pristine, "cpu")


@pytest.fixture(scope="module")
def on_cuda(on_cpu: RiffusionPipeline, pristine: Path, cuda: Device) -> RiffusionPipeline:
    pipeline = small(pristine, "cuda:0")
    assert pipeline.device == torch.device("cuda:0")
    assert pipeline.unet.dtype == torch.float16
    pipeline.warm_up((1, 2, 4))
    assert pipeline.unet_graphs.num_recorded == 3
    cuda.clear()
    return pipeline


def test_every_scheduler_replays_graphs_and_hardly_waits_for_the_gpu(
    on_cpu: RiffusionPipeline, on_cuda: RiffusionPipeline, cuda: Device
) -> None:
    """So do their images equal those of a CPU: noise of half precision would change them all."""
    for scheduler, mode in TABLE:
        job = prepared(on_cuda, scheduler, mode)
        cuda.clear()
        on_cuda.unet_graphs.num_direct_calls = 0
        while not job.is_done:
            on_cuda.step([job])
            assert job.latents.dtype == torch.float32
            assert job.latents.device.type == "cuda"
        noise = scheduler in DRAWING
        limit = (MAX_WAITS_PER_CALL + noise) * job.num_steps
        assert cuda.num_waits <= limit, (scheduler, mode, cuda.waits)
        assert cuda.num_replays == job.num_steps, (scheduler, mode)
        assert on_cuda.unet_graphs.num_direct_calls == 0
        (actual,) = finished(on_cuda, [job])
        (expected,) = finished(on_cpu, [prepared(on_cpu, scheduler, mode)])
        assert np.abs(actual - expected).max() <= MAX_GREY_LEVELS, (scheduler, mode)


def test_graphs_and_direct_calls_draw_equal_images(
    on_cuda: RiffusionPipeline, cuda: Device
) -> None:
    for scheduler, mode in ((None, "txt2img"), ("euler_a", "img2img"), ("unipc", "mask")):
        through_graphs = finished(on_cuda, [prepared(on_cuda, scheduler, mode)])
        recorded, on_cuda.unet_graphs._recorded = on_cuda.unet_graphs._recorded, {}
        direct = finished(on_cuda, [prepared(on_cuda, scheduler, mode)])
        on_cuda.unet_graphs._recorded = recorded
        assert (through_graphs[0] == direct[0]).all(), (scheduler, mode)


def test_a_long_prompt_leaves_the_others_in_their_graph(
    on_cuda: RiffusionPipeline, cuda: Device
) -> None:
    (alone,) = finished(on_cuda, [on_cuda.prepare(request("ddim"))])
    jobs = [
        on_cuda.prepare(request("ddim", prompt=LONG_PROMPT)),
        on_cuda.prepare(request("ddim")),
    ]
    cuda.clear()
    _, together = finished(on_cuda, jobs)
    assert cuda.num_replays == STEPS
    assert (together == alone).all()


def test_jobs_in_a_padded_call_equal_each_alone(on_cuda: RiffusionPipeline) -> None:
    inputs = [request("ddim", guidance=1.0), request("euler", seed=2)]  # three rows, padded to four
    alone = [finished(on_cuda, [on_cuda.prepare(each)])[0] for each in inputs]
    together = finished(on_cuda, [on_cuda.prepare(each) for each in inputs])
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other).max() <= 1


def test_a_size_whose_recording_fails_runs_without_a_graph(
    on_cpu: RiffusionPipeline,
    pristine: Path,
    cuda: Device,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = small(pristine, "cuda:0")
    call = pipeline.unet.forward

    def fragile(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        if cuda.recording is not None and len(rows) == 2:
            rows.sum().item()
        return call(rows, *args, **options)

    monkeypatch.setattr(pipeline.unet, "forward", fragile)
    pipeline.warm_up((1, 2))
    graphs = pipeline.unet_graphs
    assert (graphs.num_recorded, graphs.num_failed) == (1, 1)
    assert "no CUDA graph for 2 rows" in caplog.text
    cuda.clear()
    job = pipeline.prepare(request("ddim"))
    (actual,) = finished(pipeline, [job])
    assert cuda.num_replays == 0
    (expected,) = finished(on_cpu, [on_cpu.prepare(request("ddim"))])
    assert np.abs(actual - expected).max() <= MAX_GREY_LEVELS
    finished(pipeline, [pipeline.prepare(request("ddim", guidance=1.0))])
    assert cuda.num_replays == STEPS


def test_encoding_in_half_precision_that_overflows_is_repeated_and_not_cached(
    on_cpu: RiffusionPipeline, on_cuda: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = on_cuda.vae.encode

    def overflowing(pixels: torch.Tensor) -> Any:
        encoded = encode(pixels)
        if pixels.dtype == torch.float16:
            encoded.latent_dist.parameters = encoded.latent_dist.parameters * torch.inf
        return encoded

    monkeypatch.setattr(on_cuda.vae, "encode", overflowing)
    for _ in range(2):  # the second is from the cache
        (actual,) = finished(on_cuda, [prepared(on_cuda, "ddim", "img2img")])
        (expected,) = finished(on_cpu, [prepared(on_cpu, "ddim", "img2img")])
        assert np.abs(actual - expected).max() <= MAX_GREY_LEVELS
    assert on_cuda.vae.dtype == torch.float16


def test_the_engine_warms_up_records_and_replays_in_its_own_thread(
    on_cuda: RiffusionPipeline, cuda: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [np.asarray(on_cuda(request("ddim", seed=seed)).images[0]) for seed in (1, 2)]
    on_cuda.unet_graphs.forget()
    warm_up = on_cuda.warm_up
    monkeypatch.setattr(on_cuda, "warm_up", lambda: warm_up((2, 4)))
    engine = Engine(on_cuda)
    engine.warm_up()
    assert on_cuda.unet_graphs.num_recorded == 2
    cuda.clear()
    handles = [engine.submit(request("ddim", seed=seed)) for seed in (1, 2)]
    images = [np.asarray(handle.image.result(TIMEOUT_S), dtype=int) for handle in handles]
    engine.close()
    assert STEPS <= cuda.num_replays <= 2 * STEPS  # they share calls once both are prepared
    for image, alone in zip(images, expected, strict=True):
        assert np.abs(image - alone).max() <= 1


def test_distilled_rows_share_graphs_with_guided_ones_and_hardly_wait_for_the_gpu(
    model: TinyModel, cuda: Device, tmp_path: Path
) -> None:
    folder = write_folder(distilled_copy(model), tmp_path)
    Distillation(8, (1.0, 10.0), guided_sampling=True).save(folder)
    on_cpu, on_cuda = small(folder, "cpu"), small(folder, "cuda:0")
    on_cuda.warm_up((1, 2, 4))

    def prepare(pipeline: RiffusionPipeline) -> list[DenoisingJob]:
        return [
            prepared(pipeline, "lcm", "mask"),
            pipeline.prepare(request("lcm", "txt2img", guidance=3.0)),
            prepared(pipeline, "ddim", "img2img"),
        ]

    jobs = prepare(on_cuda)
    on_cuda.unet_graphs.num_direct_calls = 0
    cuda.clear()
    while not all(job.is_done for job in jobs):
        on_cuda.step(jobs)
    drawn = 2  # per step: each distilled job copies its noise to the GPU
    assert cuda.num_waits <= (MAX_WAITS_PER_CALL + drawn) * STEPS, cuda.waits
    assert (cuda.num_replays, on_cuda.unet_graphs.num_direct_calls) == (STEPS, 0)
    for actual, expected in zip(
        finished(on_cuda, jobs), finished(on_cpu, prepare(on_cpu)), strict=True
    ):
        assert np.abs(actual - expected).max() <= MAX_GREY_LEVELS
