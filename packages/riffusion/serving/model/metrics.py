"""What the service does, in numbers: Prometheus metrics, which the Truss server shows at /metrics/.

Seconds of music a second is `rate(riffusion_music_seconds_total[1m])`.
"""

from prometheus_client import Counter, Gauge, Histogram

from riffusion.engine.engine import Engine, EngineStep
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import Clip
from riffusion.runtime.cache import TensorCache

_CLIPS = Counter("riffusion_clips", "Clips asked for, by what became of them.", ["outcome"])
_REFUSED = Counter("riffusion_refused", "Requests refused because too much was waiting.")
_MUSIC = Counter("riffusion_music_seconds", "Seconds of music made.")
_LIVE = Gauge("riffusion_live_jobs", "Jobs that share the model's time.")
_WAITING = Gauge("riffusion_waiting_jobs", "Jobs that wait to join them.")
_ROWS = Histogram("riffusion_batch_rows", "Rows of a UNet call.", buckets=(1, 2, 4, 8, 16, 32, 64))
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
_HITS = Gauge("riffusion_cache_hits", "Look-ups that were found, since the start.", ["cache"])
_MISSES = Gauge("riffusion_cache_misses", "Look-ups that weren't found.", ["cache"])


def _note_step(tick: EngineStep) -> None:
    _ROWS.observe(tick.num_rows)
    _STEP.observe(tick.seconds)


def note_clip(clip: Clip) -> None:
    """A clip is done."""
    _CLIPS.labels("done").inc()
    _MUSIC.inc(clip.audio.duration_s)
    for stage, seconds in clip.timings_s.items():
        _STAGE.labels(stage).observe(seconds)


def note_failure(error: Exception) -> None:
    """A clip came to nothing."""
    kinds = {GenerationCancelled: "cancelled", InputError: "invalid"}
    outcome = next((name for kind, name in kinds.items() if isinstance(error, kind)), "failed")
    _CLIPS.labels(outcome).inc()


def note_refusal() -> None:
    """A request was turned away."""
    _REFUSED.inc()


def watch_engine(engine: Engine) -> None:
    """Show how many jobs an engine has, and note its ticks."""
    _LIVE.set_function(lambda: engine.num_running)
    _WAITING.set_function(lambda: engine.num_waiting)
    engine.on_step = _note_step


def watch_cache(name: str, cache: TensorCache) -> None:
    """Show a cache's hits and misses."""
    _HITS.labels(name).set_function(lambda: cache.num_hits)
    _MISSES.labels(name).set_function(lambda: cache.num_misses)
