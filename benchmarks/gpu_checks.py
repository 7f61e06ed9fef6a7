"""Checks on a real GPU of what tests on a CPU can only emulate; `--device cpu` tries the script.

Run it with scripts/benchmark_on_gpu.sh. Each check prints one line of JSON as soon as it is done,
so that a run that is cut off has not been for nothing. A check that fails doesn't stop the others.
"""

import argparse
import concurrent.futures
import hashlib
import json
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.sd15_shape import write_checkpoint
from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.engine.engine import EngineStep
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.runtime import gpu
from riffusion.serving.model.clip_service import MAX_FAILURES_IN_A_ROW

DEMO = Path(__file__).parents[1] / "data" / "demo-checkpoint"
STEPS = 10
STEPS_ON_CPU = 2
REPEATS = 20
COMPANIONS = (1, 3, 7)
SCHEDULERS = get_args(SchedulerName)
DECODED_TOGETHER = (1, 2, 4, 8)
SPARE_MEMORY = 2**30
"""Bytes above the reserved memory that the check of small memory leaves: two pictures' decoding."""


class Checks:
    """The checks, in the order of `run`, on one loaded checkpoint.

    Args:
        device: `cuda`, or `cpu` to try the script.
        until: time at which no further check begins, on the clock of `time.perf_counter`.
    """

    def __init__(self, device: str, until: float) -> None:
        self.device = torch.device(device)
        self.is_cuda = self.device.type == "cuda"
        self.until = until
        self.generator: ClipGenerator
        self.steps: list[EngineStep] = []

    def run(self) -> int:
        """Run all checks; returns the number of those that failed."""
        num_failed = 0
        for check in (
            self.load,
            self.warm_up,
            self.repeatability,
            self.companions,
            self.step_times,
            self.audio_beside_the_engine,
            self.first_decodes,
            self.channels_last,
            self.small_memory,
            self.lost_device,  # the last one: nothing works after it
        ):
            started = time.perf_counter()
            result: dict[str, Any] = {"check": check.__name__}
            if started > self.until:
                result["left_out"] = "no time left"
            else:
                try:
                    result |= check()
                except Exception as error:
                    logging.exception("%s failed", check.__name__)
                    result["failed"] = f"{type(error).__name__}: {error}"
                    num_failed += 1
                result["seconds"] = round(time.perf_counter() - started, 2)
            print(json.dumps(result), flush=True)
        return num_failed

    def load(self) -> dict[str, Any]:
        """Load a checkpoint of Stable Diffusion's shape, or on a CPU the demo checkpoint."""
        started = time.perf_counter()
        if self.is_cuda:
            with tempfile.TemporaryDirectory() as directory:
                write_checkpoint(Path(directory))
                started = time.perf_counter()
                self.generator = ClipGenerator.load(directory, device="cuda")
        else:
            self.generator = ClipGenerator.load(str(DEMO), device="cpu")
        self.generator.engine.on_step = self.steps.append
        return {
            "load_s": time.perf_counter() - started,
            "gpu": torch.cuda.get_device_name() if self.is_cuda else None,
            "driver_cuda": gpu.cuda_of_driver(),
            "torch": torch.__version__,
            "torch_cuda": torch.version.cuda,
            "checkpoint": self.generator.checkpoint_description,
        }

    def warm_up(self) -> dict[str, Any]:
        """Warm up as the server does."""
        started = time.perf_counter()
        self._warm_up()
        graphs = self.generator.pipeline.unet_graphs
        return {
            "warm_up_s": time.perf_counter() - started,
            "graphs": graphs.num_recorded,
            "graphs_failed": graphs.num_failed,
            "reserved_gib": self._gib(torch.cuda.memory_reserved) if self.is_cuda else None,
        }

    def repeatability(self) -> dict[str, Any]:
        """The same clip again and again: numbers of different images and waveforms."""
        clips = [self._clip(_request()) for _ in range(self._fewer(REPEATS))]
        return {
            "clips": len(clips),
            "different_images": len({_digest(np.asarray(clip.image)) for clip in clips}),
            "different_audio": len({_digest(np.asarray(clip.audio.waveform)) for clip in clips}),
        }

    def companions(self) -> dict[str, Any]:
        """Largest difference in grey levels between a clip alone and beside others."""
        found: dict[str, dict[int, int]] = {}
        for scheduler in self._few(SCHEDULERS):
            alone = np.asarray(self._clip(_request(scheduler)).image, dtype=int)
            found[scheduler] = {}
            for count in self._few(COMPANIONS):
                requests = [_request(scheduler), *(_request(seed=seed) for seed in range(count))]
                first = np.asarray(self._clips(requests)[0].image, dtype=int)
                found[scheduler][count] = int(np.abs(first - alone).max())
        return {"max_difference": found}

    def step_times(self) -> dict[str, Any]:
        """Median milliseconds of a step of eight guided jobs, by scheduler."""
        found = {}
        for scheduler in self._few(SCHEDULERS):
            self.steps.clear()
            self._images([_request(scheduler, seed=seed) for seed in range(self._fewer(8))])
            full = [step.seconds for step in self.steps if step.num_jobs == self._fewer(8)]
            found[scheduler] = round(1e3 * statistics.median(full), 2) if full else None
        return {"step_ms": found}

    def audio_beside_the_engine(self) -> dict[str, Any]:
        """Median milliseconds of a clip's audio: alone, and beside 16 rows by stream priority."""
        resolved = self.generator.resolve(_request())
        handle = self.generator.start(resolved)
        handle.image.result()

        def median_ms() -> float:
            times = []
            for _ in range(self._fewer(REPEATS)):
                started = time.perf_counter()
                self.generator.finish(resolved, handle)
                times.append(time.perf_counter() - started)
            return round(1e3 * statistics.median(times), 2)

        found = {"alone": median_ms()}
        audio = self.generator._image_audio
        usual = audio.stream
        for priority in (0, -1):
            if self.is_cuda:
                audio.stream = torch.cuda.Stream(self.device, priority=priority)  # type: ignore[no-untyped-call]
            long = [_request(steps=150, seed=seed) for seed in range(8)]
            busy = [self.generator.start(self.generator.resolve(request)) for request in long]
            found[f"beside_16_rows_priority_{priority}"] = median_ms()
            for running in busy:
                running.cancel()
        audio.stream = usual
        return {"audio_ms": found}

    def first_decodes(self) -> dict[str, Any]:
        """Milliseconds of the first and second decoding in a thread that has decoded nothing."""
        pipeline = self.generator.pipeline
        noise = pipeline._preparation.noise(0, pipeline._sizes.of_clip())
        found: dict[int, list[float]] = {}

        @torch.inference_mode()
        def work() -> None:
            for count in self._few(DECODED_TOGETHER):
                rows = noise.expand(count, -1, -1, -1)
                found[count] = [
                    self._ms(lambda rows=rows: pipeline._latent_codec.decode(rows))  # type: ignore[misc]
                    for _ in range(2)
                ]

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return {"decode_ms": found}

    @torch.inference_mode()
    def channels_last(self) -> dict[str, Any]:
        """Milliseconds of a UNet call of 16 rows without a graph, in both memory formats."""
        pipeline = self.generator.pipeline
        noise = pipeline._preparation.noise(0, pipeline._sizes.of_clip())
        rows = noise.to(pipeline.unet.dtype).expand(self._fewer(16), -1, -1, -1)
        embeddings = pipeline.embed_text("").expand(len(rows), -1, -1)
        times = torch.zeros(len(rows), device=rows.device)
        found = {}
        for name, memory_format in (
            ("off", torch.contiguous_format),
            ("on", torch.channels_last if self.is_cuda else torch.contiguous_format),
        ):
            pipeline.unet.to(memory_format=memory_format)

            def call() -> object:
                return pipeline.unet(rows, times, encoder_hidden_states=embeddings)

            call()
            found[name] = round(
                statistics.median(self._ms(call) for _ in range(self._fewer(10))), 2
            )
        self._warm_up()  # the weights have moved
        return {"unet_ms": found}

    def small_memory(self) -> dict[str, Any]:
        """Sixteen clips with little memory: do all succeed, in smaller calls?"""
        if self.is_cuda:
            torch.cuda.empty_cache()
            # What the graphs reserve counts, too, and isn't given back.
            allowed = torch.cuda.memory_reserved() + SPARE_MEMORY
            total = torch.cuda.get_device_properties(self.device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
        engine = self.generator.engine
        handles = [
            engine.submit(_request(mode="txt2img", seed=seed)) for seed in range(self._fewer(16))
        ]
        failures = [str(handle.image.exception()) for handle in handles if handle.image.exception()]
        if self.is_cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)
        again = self._clip(_request())
        return {"clips": len(handles), "failed_clips": failures, "later": again.image.size}

    def lost_device(self) -> dict[str, Any]:
        """A device-side assert: the number of clips after which the service would be unhealthy."""
        pipeline = self.generator.pipeline
        call = pipeline.unet.forward

        def assert_on_device(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
            if not self.is_cuda:
                raise RuntimeError("device-side assert")
            index = torch.full((1,), 10**6, device=rows.device)
            return call(rows + rows.flatten()[index], *args, **options)

        pipeline.unet_graphs.forget()
        pipeline.unet.forward = assert_on_device
        outcomes = []
        for _ in range(MAX_FAILURES_IN_A_ROW):
            error = self.generator.engine.submit(_request(mode="txt2img")).image.exception()
            outcomes.append("image" if error is None else type(error).__name__)
        return {"outcomes": outcomes, "unhealthy": "image" not in outcomes}

    def _warm_up(self) -> None:
        if self.is_cuda:
            self.generator.engine.warm_up()
        else:
            self.generator.pipeline.warm_up((1,))

    def _clip(self, request: InferenceInput) -> Clip:
        return self.generator.generate(self.generator.resolve(request))

    def _clips(self, requests: list[InferenceInput]) -> list[Clip]:
        """Clips of requests that are made at the same time."""
        resolved = [self.generator.resolve(request) for request in requests]
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(self.generator.generate, resolved))

    def _images(self, requests: list[InferenceInput]) -> None:
        resolved = [self.generator.resolve(request) for request in requests]
        for handle in [self.generator.start(each) for each in resolved]:
            handle.image.result()

    def _ms(self, work: Callable[[], object]) -> float:
        self._synchronize()
        started = time.perf_counter()
        work()
        self._synchronize()
        return round(1e3 * (time.perf_counter() - started), 2)

    def _synchronize(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()

    def _fewer(self, count: int) -> int:
        """A count; on a CPU, where only the script is tried, at most two."""
        return count if self.is_cuda else min(count, 2)

    def _few(self, values: Any) -> Iterator[Any]:
        return iter(values if self.is_cuda else values[:2])

    def _gib(self, read: Callable[[], int]) -> float:
        return round(read() / 2**30, 2)


def _request(
    scheduler: str | None = None, seed: int = 0, steps: int = STEPS, mode: str = "img2img"
) -> InferenceInput:
    start = {"prompt": "church bells", "seed": seed, "denoising": 1.0, "guidance": 7.0}
    fields: dict[str, Any] = {"start": start, "mode": mode, "num_inference_steps": steps}
    if mode == "img2img":
        fields["seed_image_id"] = "og_beat"
    if not torch.cuda.is_available():
        fields |= {"mode": "txt2img", "duration_s": 0.32, "num_inference_steps": STEPS_ON_CPU}
        fields.pop("seed_image_id", None)
    return InferenceInput.parse(fields | {"scheduler": scheduler})


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    """Run the checks; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=240.0, help="no check begins after these")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: these checks need a CUDA GPU; --device cpu tries the script")
    checks = Checks(arguments.device, time.perf_counter() + arguments.seconds)
    raise SystemExit(1 if checks.run() else 0)


if __name__ == "__main__":
    main()
