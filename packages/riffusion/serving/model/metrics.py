"""Prometheus metrics of the service, which the Truss server shows at /metrics/.

Seconds of music generated per second: `rate(riffusion_music_seconds_total[1m])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram, Info, ProcessCollector

from riffusion.checkpoint.distillation import Distillation
from riffusion.engine.engine import Engine, EngineStep
from riffusion.errors import GenerationCancelled, InputError
from riffusion.runtime.cache import TensorCache

if TYPE_CHECKING:
    import torch

    from riffusion.runtime.cuda_graphs import CudaGraphRunner

_CLIPS = Counter("riffusion_clips", "Clips requested, by outcome.", ["outcome"])
for _outcome in ("done", "cancelled", "invalid", "failed"):
    _CLIPS.labels(_outcome)  # shown as 0 from the start, so that rates see the first one
_REFUSED = Counter("riffusion_refused", "Requests refused because too many were waiting.")
_MUSIC = Counter("riffusion_music_seconds", "Seconds of music generated.")
_RUNNING = Gauge("riffusion_live_jobs", "Jobs that share the model's steps.")
_WAITING = Gauge("riffusion_waiting_jobs", "Jobs that wait for a running slot.")
_ROWS = Histogram("riffusion_batch_rows", "Rows per UNet call.", buckets=(1, 2, 4, 8, 16, 32, 64))
_STEP = Histogram(
    "riffusion_step_seconds",
    "Duration of a UNet call with its scheduler steps.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
_STAGE = Histogram(
    "riffusion_stage_seconds",
    "Duration of a clip's stages.",
    ["stage"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
_HITS = Gauge("riffusion_cache_hits", "Cache hits since the start.", ["cache"])
_MISSES = Gauge("riffusion_cache_misses", "Cache misses since the start.", ["cache"])
_GRAPHS = Gauge("riffusion_cuda_graphs", "CUDA graphs of the UNet, by state.", ["state"])
_CHECKPOINT = Info("riffusion_checkpoint", "What the checkpoint can do.")
_LORA = Gauge("riffusion_lora", "LoRAs that requests can name; always 1.", ["id"])
_UNET_CALLS = Gauge("riffusion_unet_calls", "UNet calls since the start, by way.", ["way"])
_GPU_MEMORY = Gauge("riffusion_gpu_memory_bytes", "PyTorch's memory on the GPU.", ["state"])
ProcessCollector(namespace="riffusion")  # Truss takes prometheus-client's own one away


def record_clip(duration_s: float, timings_s: Mapping[str, float]) -> None:
    """Count a finished clip, or edit.

    Args:
        duration_s: length of its audio.
        timings_s: seconds per stage.
    """
    _CLIPS.labels("done").inc()
    _MUSIC.inc(duration_s)
    for stage, seconds in timings_s.items():
        _STAGE.labels(stage).observe(seconds)


def record_failure(error: Exception) -> None:
    """Count a clip that was cancelled, invalid or failed."""
    kinds = {GenerationCancelled: "cancelled", InputError: "invalid"}
    outcome = next((name for kind, name in kinds.items() if isinstance(error, kind)), "failed")
    _CLIPS.labels(outcome).inc()


def record_refusal() -> None:
    """Count a request that was refused because too many were waiting."""
    _REFUSED.inc()


def watch_engine(engine: Engine) -> None:
    """Show an engine's numbers of jobs, and record its steps."""
    watch_jobs(lambda: engine.num_running, lambda: engine.num_waiting)
    engine.on_step = _record_step


def watch_jobs(num_running: Callable[[], int], num_waiting: Callable[[], int]) -> None:
    """Show how many jobs run and wait."""
    _RUNNING.set_function(num_running)
    _WAITING.set_function(num_waiting)


def watch_graphs(runner: CudaGraphRunner) -> None:
    """Show how many graphs were recorded or failed, and how many calls used one."""
    _GRAPHS.labels("recorded").set_function(lambda: runner.num_recorded)
    _GRAPHS.labels("failed").set_function(lambda: runner.num_failed)
    _UNET_CALLS.labels("graph").set_function(lambda: runner.num_replays)
    _UNET_CALLS.labels("direct").set_function(lambda: runner.num_direct_calls)


def watch_gpu_memory(device: torch.device) -> None:
    """Show what PyTorch has allocated on a CUDA device, and what it holds reserved there."""
    import torch

    _GPU_MEMORY.labels("allocated").set_function(lambda: torch.cuda.memory_allocated(device))
    _GPU_MEMORY.labels("reserved").set_function(lambda: torch.cuda.memory_reserved(device))


def show_checkpoint(distillation: Distillation | None) -> None:
    """Show whether the checkpoint is distilled, and what it can do then.

    The gateway reads it for `GET /info`.
    """
    if distillation is None:
        _CHECKPOINT.info({"distilled": "false"})
        return
    low, high = distillation.guidance
    _CHECKPOINT.info(
        {
            "distilled": "true",
            "max_steps": str(distillation.max_steps),
            "min_guidance": f"{low:g}",
            "max_guidance": f"{high:g}",
            "guided_sampling": "true" if distillation.guided_sampling else "false",
        }
    )


def show_unconditional_checkpoint() -> None:
    """Show that the checkpoint takes no text. The gateway reads it for `GET /info`."""
    _CHECKPOINT.info({"distilled": "false", "unconditional": "true"})


def show_loras(ids: Iterable[str]) -> None:
    """Show the ids of the LoRAs that requests can name. The gateway reads it for `GET /info`."""
    _LORA.clear()
    for lora_id in ids:
        _LORA.labels(lora_id).set(1)


def watch_cache(name: str, cache: TensorCache) -> None:
    """Show a cache's hits and misses."""
    _HITS.labels(name).set_function(lambda: cache.num_hits)
    _MISSES.labels(name).set_function(lambda: cache.num_misses)


def _record_step(step: EngineStep) -> None:
    _ROWS.observe(step.num_rows)
    _STEP.observe(step.seconds)
