"""The exceptions that requests to the engine end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riffusion.errors import ClipMemoryError, GenerationError, InputError, RiffusionError
from riffusion.runtime.memory import is_out_of_memory

if TYPE_CHECKING:
    from riffusion.diffusion.job import DenoisingJob

_USUAL_GUIDANCE = 10.0
"""Up to this guidance, latents that aren't finite are the model's fault, not the request's."""


def check_finite(job: DenoisingJob, precision: object) -> None:
    """Check that a job's latents are finite.

    Args:
        job: a finished job.
        precision: the UNet's.

    Raises:
        InputError: they aren't, and the guidance is unusually high.
        GenerationError: they aren't, at usual guidance.
    """
    if bool((abs(job.latents) < float("inf")).all()):  # NaN fails, too
        return
    message = f"the latents are not finite after {job.num_steps} steps in {precision}"
    if job.guidance > _USUAL_GUIDANCE:
        raise InputError(f"{message}; lower guidance={job.guidance:g}", "start.guidance")
    raise GenerationError(message)


def clip_failure(error: Exception, relative_length: float) -> RiffusionError:
    """What a request whose job failed, alone in its call, ends with.

    Args:
        error: the call's exception.
        relative_length: see `RiffusionPipeline.relative_length`.
    """
    if isinstance(error, RiffusionError):
        return error
    if is_out_of_memory(error) and relative_length > 1:
        failure = ClipMemoryError(
            f"memory ran out for a clip of {relative_length:.1f} times the usual length; "
            "request a shorter one"
        )
        failure.__cause__ = error
        return failure
    return model_failure(error)


def model_failure(error: Exception) -> GenerationError:
    """What a request ends with if the model failed on it."""
    failure = GenerationError(f"the model failed on this clip: {error}")
    failure.__cause__ = error
    return failure


def engine_death(error: BaseException) -> GenerationError:
    """What requests end with if the engine's thread has died."""
    return GenerationError(
        f"the engine's thread has died of {type(error).__name__}; restart the server"
    )
