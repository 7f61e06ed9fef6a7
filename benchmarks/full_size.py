"""The full Stable Diffusion 1.5 shape with random weights on a CUDA GPU.

python -m benchmarks.full_size        takes under 8 minutes, for one run on a rented GPU

Random weights take as long as trained ones. All methods run alternately in one process; times are
medians, with the device synchronized.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from benchmarks import results
from benchmarks.sd15_shape import UNET_TFLOP, write_checkpoint
from riffusion.datatypes import CLIP_DURATION_S, InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.engine.engine import MAX_NUM_RUNNING
from riffusion.generation.generator import ClipGenerator, ResolvedInput
from riffusion.generation.seed_library import SeedLibrary
from riffusion.runtime.cuda_graphs import BATCH_SIZES
from riffusion.runtime.processors import num_usable_cpus

REPEATS = 5
STEPS = 50
NUM_CLIENTS = (1, 2, 4, 8, 16)
MATRIX_SIDE = 8192


@dataclasses.dataclass
class FullSizeResult:
    """All measurements: times in seconds, and sizes or rates as their names say."""

    device: str
    load_s: float = 0.0
    weights_gib: float = 0.0
    peak_load_gib: float = 0.0
    peak_clip_gib: float = 0.0
    step_s: dict[int, float] = dataclasses.field(default_factory=dict)
    matrix_tflops: float = 0.0
    floor_step_s: dict[int, float] = dataclasses.field(default_factory=dict)
    clip_s: dict[str, float] = dataclasses.field(default_factory=dict)
    clips_per_s: dict[int, float] = dataclasses.field(default_factory=dict)
    clips_per_s_off: dict[int, float] = dataclasses.field(default_factory=dict)


def measure() -> FullSizeResult:
    """Measure everything on the first CUDA GPU."""
    result = FullSizeResult(device=torch.cuda.get_device_name())
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "sd15"
        write_checkpoint(folder)
        result.weights_gib = sum(f.stat().st_size for f in folder.rglob("*.safetensors")) / 2**30
        torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        pipeline = RiffusionPipeline.from_pretrained(folder, device="cuda")
        torch.cuda.synchronize()
        result.load_s = time.perf_counter() - started
        result.peak_load_gib = torch.cuda.max_memory_allocated() / 2**30
    result.matrix_tflops = _matrix_tflops()
    pipeline.warm_up()
    for part in (_time_steps, _time_clips, _time_batches):
        part(pipeline, result)
        # A run that is cut off has not been for nothing.
        print(json.dumps(dataclasses.asdict(result)), flush=True)
    return result


def _time_steps(pipeline: RiffusionPipeline, result: FullSizeResult) -> None:
    for rows in BATCH_SIZES:
        guidance = 7.0 if rows > 1 else 1.0
        request = _request(prompt_fields={"guidance": guidance}, num_inference_steps=STEPS)
        jobs = [pipeline.prepare(request, _image()) for _ in range(max(1, rows // 2))]
        result.step_s[rows] = _median(lambda jobs=jobs: pipeline.predict(jobs))  # type: ignore[misc]
        result.floor_step_s[rows] = rows * UNET_TFLOP / result.matrix_tflops


def _time_clips(pipeline: RiffusionPipeline, result: FullSizeResult) -> None:
    """Time one guided img2img clip at strength 1: ours, the published loop, diffusers' pipeline."""
    image = _image()
    stock = diffusers.StableDiffusionImg2ImgPipeline(
        **{**pipeline.components, "scheduler": diffusers.PNDMScheduler(skip_prk_steps=True)},
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    methods: dict[str, Callable[[], object]] = {
        "ours, fast": lambda: pipeline(_request(preset="fast"), image),
        "ours, balanced": lambda: pipeline(_request(preset="balanced"), image),
        f"ours, PNDM {STEPS}": lambda: pipeline(_request(num_inference_steps=STEPS), image),
        f"eager loop, PNDM {STEPS}": lambda: _eager_loop(pipeline, image),
        f"diffusers img2img, PNDM {STEPS}": lambda: stock(
            "church bells", image=image, strength=1.0, num_inference_steps=STEPS
        ),
    }
    for work in methods.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(REPEATS):
        for name, work in methods.items():
            times[name].append(_seconds(work))
    result.clip_s = {name: statistics.median(found) for name, found in times.items()}
    torch.cuda.reset_peak_memory_stats()
    methods["ours, fast"]()
    result.peak_clip_gib = torch.cuda.max_memory_allocated() / 2**30


@torch.inference_mode()
def _eager_loop(pipeline: RiffusionPipeline, image: Image.Image) -> None:
    """The published system's loop: half precision, one request, guidance by a doubled batch."""
    job = pipeline.prepare(_request(num_inference_steps=STEPS), image)
    while not job.is_done:
        prediction = pipeline.unet(
            job.unet_rows().half(),
            torch.tensor(float(job.timestep), device="cuda"),
            encoder_hidden_states=job.embeddings,
        ).sample
        job.advance(prediction)
    pipeline.decode([job])


def _time_batches(pipeline: RiffusionPipeline, result: FullSizeResult) -> None:
    """Clips per second for many clients at preset fast, with audio; batching on and off."""
    for max_num_running, rates in (
        (MAX_NUM_RUNNING, result.clips_per_s),
        (1, result.clips_per_s_off),
    ):
        generator = ClipGenerator(
            pipeline, SeedLibrary.default(None), max_num_running=max_num_running
        )
        # As in the server: the engine's thread draws, and a few threads make the audio.
        with concurrent.futures.ThreadPoolExecutor(max(1, num_usable_cpus() // 2)) as audio:
            for clients in NUM_CLIENTS:
                requests = [_request(preset="fast", seed=seed) for seed in range(clients)]
                resolved = [generator.resolve(request) for request in requests]
                _clips(generator, resolved, audio)  # warms up
                torch.cuda.synchronize()
                started = time.perf_counter()
                _clips(generator, resolved, audio)
                rates[clients] = clients / (time.perf_counter() - started)
        generator.close()


def _clips(
    generator: ClipGenerator,
    resolved: list[ResolvedInput],
    audio: concurrent.futures.ThreadPoolExecutor,
) -> None:
    handles = [generator.start(each) for each in resolved]
    list(audio.map(generator.finish, resolved, handles))


def _image() -> Image.Image:
    """Noise, 512 x 512."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _request(
    seed: int = 0, prompt_fields: Mapping[str, Any] = MappingProxyType({}), **fields: Any
) -> InferenceInput:
    start = {"prompt": "church bells", "seed": seed, "denoising": 1.0, **prompt_fields}
    return InferenceInput.parse({"start": start, "seed_image_id": "og_beat", **fields})


def _matrix_tflops() -> float:
    """TFLOP/s of a large product of half-precision matrices."""
    first, second = torch.randn(2, MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=torch.float16)
    seconds = _median(lambda: first @ second)
    return 2 * MATRIX_SIDE**3 / seconds / 1e12


def _median(work: Callable[[], object], repeats: int = 10) -> float:
    work()
    return statistics.median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def markdown(result: FullSizeResult) -> str:
    """The result as tables."""
    eager = result.clip_s[f"eager loop, PNDM {STEPS}"]
    lines = [
        f"{result.device}; half-precision matrices reach {result.matrix_tflops:.0f} TFLOP/s.",
        f"Loading {result.weights_gib:.2f} GiB of safetensors: {result.load_s:.1f} s, peak "
        f"{result.peak_load_gib:.2f} GiB; one clip peaks at {result.peak_clip_gib:.2f} GiB.",
        "",
        "| one clip | seconds | speedup over the eager loop |",
        "|---|---|---|",
    ]
    lines += [f"| {n} | {s:.3f} | {eager / s:.1f}× |" for n, s in result.clip_s.items()]
    lines += [
        "",
        "| rows per UNet call | ms | floor, ms | ratio to the floor |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {rows} | {1e3 * s:.1f} | {1e3 * result.floor_step_s[rows]:.1f} "
        f"| {s / result.floor_step_s[rows]:.1f}× |"
        for rows, s in result.step_s.items()
    ]
    lines += [
        "",
        "| clients | clips/s | batching off | ratio | endless jams in real time |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {n} | {rate:.2f} | {off:.2f} | {rate / off:.1f}× | {rate * CLIP_DURATION_S:.1f} |"
        for (n, rate), off in zip(
            result.clips_per_s.items(), result.clips_per_s_off.values(), strict=True
        )
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and save the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("error: this benchmark needs a CUDA GPU, and none is available")
    result = measure()
    results.save("full_size", [result], markdown(result), machine=result.device)


if __name__ == "__main__":
    main()
