"""One log line per request that the service gets, whatever becomes of it."""

import logging
from collections.abc import Mapping
from typing import Any

from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    InputError,
    OverloadedError,
    StorageFullError,
)
from riffusion.serving.request_log import log_with_fields

logger = logging.getLogger(__name__)

_OUTCOMES: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (DeadlineExceededError, "deadline"),
    (GenerationCancelled, "cancelled"),
    (InputError, "invalid"),
    (OverloadedError, "refused"),
    (StorageFullError, "refused"),
    (Exception, "failed"),
)


def log_done(
    inputs: InferenceInput, output: InferenceOutput, timings_s: Mapping[str, float], total_s: float
) -> None:
    """Log a clip, or an edit, that was made.

    Args:
        inputs: the request.
        output: its answer.
        timings_s: seconds per stage.
        total_s: seconds since the request was accepted.
    """
    start, end = inputs.start, inputs.end
    stages = " ".join(f"{stage}={seconds:.2f}" for stage, seconds in timings_s.items())
    message = (
        f"clip mode={inputs.mode} seeds={start.seed},{end.seed} alpha={inputs.alpha:g} "
        f"prompt_characters={len(start.prompt)},{len(end.prompt)} "
        f"steps={inputs.num_inference_steps} total_s={total_s:.2f} {stages}"
    )
    made = {
        "duration_s": output.duration_s,
        "image_characters": len(output.image),
        "audio_characters": len(output.audio),
        "stages_s": {stage: round(seconds, 4) for stage, seconds in timings_s.items()},
    }
    fields = _fields(inputs, "done", total_s) | made
    log_with_fields(logger, logging.INFO, message, fields)


def outcome_of(error: Exception) -> str:
    """What became of a request that ended with an error, in one word."""
    return next(name for kind, name in _OUTCOMES if isinstance(error, kind))


def log_failure(inputs: InferenceInput, error: Exception, total_s: float) -> None:
    """Log a request that was refused, cancelled or failed; the traceback is logged elsewhere.

    An `InputError` may quote what the request holds, so only its field is logged.

    Args:
        inputs: the request.
        error: why.
        total_s: seconds since the request was received.
    """
    outcome = outcome_of(error)
    fields = _fields(inputs, outcome, total_s)
    if isinstance(error, InputError):
        message, level = f"refused: field={error.field!r}", logging.INFO
        fields["field"] = error.field
    elif isinstance(error, (OverloadedError, StorageFullError)):
        message, level = f"refused: {error}", logging.WARNING
    elif isinstance(error, GenerationCancelled):
        message, level = f"clip stopped: {error}", logging.INFO
    else:
        message, level = f"clip failed: {type(error).__name__}", logging.ERROR
        fields["error"] = type(error).__name__
    log_with_fields(logger, level, message, fields)


def _fields(inputs: InferenceInput, outcome: str, total_s: float) -> dict[str, Any]:
    start, end = inputs.start, inputs.end
    return {
        "outcome": outcome,
        "mode": inputs.mode,
        "seeds": [start.seed, end.seed],
        "alpha": inputs.alpha,
        "prompt_characters": [len(start.prompt), len(end.prompt)],
        "steps": inputs.num_inference_steps,
        "total_s": round(total_s, 4),
    }
