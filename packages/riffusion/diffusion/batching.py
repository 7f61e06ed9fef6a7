"""Several jobs in one call: jobs of one shape are stacked into one batch, and results are split."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from riffusion.diffusion.arrays import Array, array_namespace, copied_like
from riffusion.diffusion.conditioning import stack_embeddings
from riffusion.diffusion.guidance_embedding import guidance_width
from riffusion.diffusion.job import HasShape, UNetRows


class UNetBatch(NamedTuple):
    """Inputs of one UNet call, in the order of `CudaGraphRunner`'s arguments.

    Args:
        rows: noisy latents in the UNet's precision, (rows, channels, height, width).
        timesteps: (rows,) float32.
        embeddings: (rows, tokens, width).
        mask: (rows, tokens), 1 where a token counts; None if all do.
        timestep_cond: (rows, width) embeddings of the guidance that distilled rows are told, zeros
            for other rows; None for a UNet that takes none.
    """

    rows: Array
    timesteps: Array
    embeddings: Array
    mask: Array | None
    timestep_cond: Array | None


def group_by_shape(jobs: Sequence[HasShape]) -> list[list[int]]:
    """Indices of the jobs whose latents have the same shape, one list per shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault(job.shape, []).append(index)
    return list(groups.values())


def group_by_call(jobs: Sequence[UNetRows]) -> list[list[int]]:
    """Indices of the jobs that can share a UNet call: of one shape, with the same LoRAs."""
    groups: dict[Hashable, list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault((job.shape, job.loras), []).append(index)
    return list(groups.values())


def group_by_tokens(jobs: Sequence[UNetRows]) -> list[list[int]]:
    """Indices of the jobs whose embeddings have the same length, one list per length."""
    groups: dict[int, list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault(job.embeddings.shape[1], []).append(index)
    return list(groups.values())


def stack_jobs(jobs: Sequence[UNetRows], unet: Any) -> UNetBatch:
    """The next UNet inputs of several jobs, as one batch.

    Args:
        jobs: unfinished jobs of one shape.
        unet: defines the precision.
    """
    rows = [job.unet_rows() for job in jobs]
    xp = array_namespace(*rows)
    timesteps = np.array([float(job.timestep) for job in jobs], np.float32)
    embeddings, mask = stack_embeddings([job.unet_embeddings() for job in jobs])
    return UNetBatch(
        xp.astype(xp.concat(rows), unet.dtype, copy=False),
        copied_like(np.repeat(timesteps, [len(part) for part in rows]), rows[0]),
        embeddings,
        mask,
        stack_guidance(jobs, unet),
    )


def stack_guidance(jobs: Sequence[UNetRows], unet: Any) -> Array | None:
    """The next `timestep_cond` of several jobs; None for a UNet that takes none.

    The projection has no bias, so zeros add nothing: such a row is an ordinary UNet's.
    """
    width = guidance_width(unet)
    if width is None:
        return None
    rows = [job.unet_guidance(width) for job in jobs]
    xp = array_namespace(*rows)
    return xp.astype(xp.concat(rows), unet.dtype, copy=False)


def split_predictions(predictions: Array, jobs: Sequence[UNetRows]) -> list[Array]:
    """Each job's rows of the UNet's output; the inverse of stacking."""
    ends = list(itertools.accumulate(job.num_rows for job in jobs))
    return [predictions[start:end] for start, end in zip([0, *ends], ends, strict=False)]
