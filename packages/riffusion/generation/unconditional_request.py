"""What to make with an unconditional checkpoint, and the checks of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.checkpoint.unconditional import UnconditionalCheckpoint

SAMPLERS = ("ddpm", "ddim")
DEFAULT_STEPS = {"ddpm": 1000, "ddim": 50}
"""Steps if none are given: audio-diffusion's."""
MAX_COUNT = 10_000
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class UnconditionalRequest:
    """What to make.

    Args:
        count: number of clips.
        seed: clip i has the seed `seed + i`, and is the clip that this seed gives alone.
        steps: steps of a clip from noise alone; None for 1000 with DDPM and 50 with DDIM.
        scheduler: `ddpm` or `ddim`; None for the checkpoint's own.
        eta: DDIM's share of DDPM's noise per step, from 0 to 1; None for 0.
        start_step: with audio to start from, the number of steps to leave out: 0 keeps nothing of
            it but what the masks keep. None is half of the steps without masks, and 0 with them.
        mask_start_s, mask_end_s: seconds at the clip's start and end that stay as they are.
        slice_index: which part of the audio to start from, in units of a clip's length.
    """

    count: int = 1
    seed: int = 0
    steps: int | None = None
    scheduler: str | None = None
    eta: float | None = None
    start_step: int | None = None
    mask_start_s: float = 0.0
    mask_end_s: float = 0.0
    slice_index: int = 0


@dataclass(frozen=True)
class UnconditionalPlan:
    """A request with a checkpoint's defaults in place.

    Args:
        kept_start, kept_end: frames at the clip's start and end that stay as they are.
        Others: as in `UnconditionalRequest`.
    """

    seeds: range
    steps: int
    scheduler: str
    eta: float
    start_step: int
    kept_start: int
    kept_end: int


def plan_request(
    request: UnconditionalRequest, checkpoint: UnconditionalCheckpoint, *, has_source: bool
) -> UnconditionalPlan:
    """Check a request and fill in the checkpoint's defaults.

    Args:
        request: the request.
        checkpoint: the checkpoint without its weights.
        has_source: whether there is audio to start from.

    Raises:
        InputError: a value is out of range, or one that needs audio to start from, or DDIM, hasn't
            got it.
    """
    _check_range("count", request.count, 1, MAX_COUNT)
    _check_range("seed", request.seed, 0, MAX_SEED - request.count + 1)
    scheduler = request.scheduler or checkpoint.scheduler_name
    if scheduler not in SAMPLERS:
        raise InputError(f"{scheduler!r} must be {' or '.join(SAMPLERS)}", field="scheduler")
    steps = plan_steps(request.steps, scheduler, checkpoint)
    if request.eta is not None:
        _check_eta(request.eta, scheduler)
    kept = _kept_frames(request, checkpoint)
    if not has_source:
        _check_needs_no_source(request)
        start_step = 0
    elif request.start_step is not None:
        _check_range("start_step", request.start_step, 0, steps - 1)
        start_step = request.start_step
    else:
        start_step = 0 if any(kept) else steps // 2
    seeds = range(request.seed, request.seed + request.count)
    return UnconditionalPlan(seeds, steps, scheduler, request.eta or 0.0, start_step, *kept)


def plan_steps(steps: int | None, scheduler: str, checkpoint: UnconditionalCheckpoint) -> int:
    """The number of steps: a scheduler's default if None is given.

    Raises:
        InputError: it exceeds the checkpoint's noise schedule, or is below 1.
    """
    most = checkpoint.num_train_timesteps
    if steps is None:
        return min(DEFAULT_STEPS[scheduler], most)
    _check_range("steps", steps, 1, most)
    return steps


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{value} must be from {low} to {high}", field=field)


def _check_eta(eta: float, scheduler: str) -> None:
    if scheduler != "ddim":
        raise InputError(
            f"{eta:g} needs DDIM, and DDPM is the scheduler here; leave it out, or choose the "
            "scheduler ddim",
            field="eta",
        )
    if not 0 <= eta <= 1:  # also for NaN
        raise InputError(f"{eta:g} must be from 0 to 1", field="eta")


def _check_needs_no_source(request: UnconditionalRequest) -> None:
    """Check that nothing is said about audio to start from, where there is none."""
    given = {
        "start_step": request.start_step,
        "mask_start": request.mask_start_s,
        "mask_end": request.mask_end_s,
        "slice": request.slice_index,
    }
    for field, value in given.items():
        if value is not None and value != 0:
            raise InputError(
                f"{value:g} needs audio to start from; name it, or leave this out", field=field
            )


def _kept_frames(
    request: UnconditionalRequest, checkpoint: UnconditionalCheckpoint
) -> tuple[int, int]:
    """Whole frames that the masks keep, at the start and at the end.

    Raises:
        InputError: a mask is negative or longer than the clip, or they keep all of it.
    """
    spectrogram, num_frames = checkpoint.spectrogram, checkpoint.size[1]
    frames_per_s = spectrogram.sample_rate / spectrogram.hop_length
    clip_s = num_frames / frames_per_s
    masks = {"mask_start": request.mask_start_s, "mask_end": request.mask_end_s}
    for field, mask_s in masks.items():
        if not 0 <= mask_s < clip_s:
            raise InputError(
                f"{mask_s:g} must be at least 0 s and shorter than the clip of {clip_s:.2f} s",
                field=field,
            )
    start, end = (math.floor(mask_s * frames_per_s + 1e-6) for mask_s in masks.values())
    if start + end >= num_frames:
        raise InputError(
            f"{request.mask_end_s:g} and {request.mask_start_s:g} s at the start keep the whole "
            f"clip of {clip_s:.2f} s; make one of them shorter",
            field="mask_end",
        )
    return start, end
