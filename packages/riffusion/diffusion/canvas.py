"""A canvas: the latents of a recording of any length, which the UNet sees in windows.

The windows overlap, and are as wide as a clip unless the plan says otherwise. In each step the
UNet's predictions for all windows are averaged where they overlap, and the canvas takes one step of
the scheduler as a whole (Bar-Tal et al., "MultiDiffusion", 2023, for one image size). So
neighbouring windows never disagree, and there is no seam. Windows of one canvas share UNet calls
with each other and, if they are as wide as a clip, with other jobs.

The noise belongs to the time axis: a column's noise depends on the seed and on its absolute
position alone, so two edits of overlapping regions start from the same noise.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from riffusion.diffusion.arrays import Array, array_namespace, copied_like, device
from riffusion.diffusion.job import DenoisingJob
from riffusion.diffusion.loras import LoraStack
from riffusion.diffusion.random_numbers import NormalNumbers
from riffusion.spectrogram.image import FloatArray

_NOISE_COLUMNS = 16
"""Columns of noise that are drawn together."""


@dataclass(frozen=True)
class PromptAt:
    """A prompt at a place of a canvas.

    Args:
        column: column of latents, counted from the canvas' first; may lie beside the canvas.
        prompt: what should sound there.
    """

    column: float
    prompt: str


CanvasWay = Literal["edit", "to noise", "from noise"]
"""Noise is added and taken away again; or DDIM inversion finds the noise; or noise is denoised."""


@dataclass(frozen=True)
class CanvasPlan:
    """What a canvas starts from.

    Args:
        init_latents: latents of the recording, (1, channels, height, columns) float32; noise for
            the way "from noise".
        prompts: at least one, in ascending order of columns. Between two of them, windows are
            conditioned on an interpolation; beyond the first and the last, on these.
        repaint: share of repainting per latent in [0, 1], (1, 1, height, columns); None for 1.
        first_column: absolute position of the first column, which decides its noise.
        way: for the ways to and from noise, the request asks for DDIM and a denoising of 1.
        free_share: the last share of the request's steps, in which nothing is kept whatever
            `repaint` is; None keeps up to the finished latents.
        window: width of the windows in columns; None for a clip's.
        course: how much of the init latents' course in time is kept whatever the denoising, from 0
            to 1; see `CourseInTime`.
    """

    init_latents: Array
    prompts: Sequence[PromptAt]
    repaint: Array | None = None
    first_column: int = 0
    way: CanvasWay = "edit"
    free_share: float | None = None
    window: int | None = None
    course: float = 0.0


def position_between(columns: Sequence[float], column: float) -> tuple[int, float]:
    """Where a column lies among others, which are in ascending order.

    Returns:
        Index of the last one at or before `column`, 0 if there is none, and the share of the way
        from there to the next, from 0 to 1.
    """
    index = max(0, bisect.bisect_right(columns, column) - 1)
    if index + 1 == len(columns) or column <= columns[index]:
        return index, 0.0
    return index, (column - columns[index]) / (columns[index + 1] - columns[index])


def window_starts(num_columns: int, window: int, overlap: int) -> list[int]:
    """First columns of the windows that cover a canvas, in ascending order.

    Args:
        num_columns: width of the canvas, at least `window`.
        window: width of a window.
        overlap: columns that neighbours share at least, below `window`.
    """
    if num_columns <= window:
        return [0]
    count = -(-(num_columns - overlap) // (window - overlap))
    last = num_columns - window
    return [round(index * last / (count - 1)) for index in range(count)]


def window_weights(starts: Sequence[int], window: int, num_columns: int) -> list[FloatArray]:
    """Weights (window,) of each window's columns; those of one column of the canvas add up to 1.

    A window counts less towards its edges, where it doesn't see what follows.
    """
    rising = np.arange(1, window + 1, dtype=np.float32)
    ramp: FloatArray = np.minimum(rising, rising[::-1])
    total = np.zeros(num_columns, np.float32)
    for start in starts:
        total[start : start + window] += ramp
    return [ramp / total[start : start + window] for start in starts]


def column_noise(
    numbers: Callable[[int], NormalNumbers],
    seed: int,
    first: int,
    latent_shape: Sequence[int],
    draw: int = 0,
) -> FloatArray:
    """Gaussian noise of a stretch of the time axis, (1, channels, height, columns) float32.

    Args:
        numbers: the normal numbers of a seed.
        seed: from 0 to 2^63 - 1.
        first: absolute position of the first column, at least 0.
        latent_shape: shape of the noise.
        draw: number of the draw: each step has noise of its own.
    """
    _, channels, height, width = latent_shape
    blocks = []
    for block in range(first // _NOISE_COLUMNS, (first + width - 1) // _NOISE_COLUMNS + 1):
        mixed = np.random.SeedSequence([seed, block, draw]).generate_state(1, np.uint64)
        of_block = numbers(int(mixed[0]) >> 1)
        blocks.append(of_block.normal((channels, height, _NOISE_COLUMNS)))
    skipped = first % _NOISE_COLUMNS
    joined = np.concatenate(blocks, axis=2)
    return np.ascontiguousarray(joined[None, :, :, skipped : skipped + width])


class ColumnNoise:
    """The noise that distilled sampling adds to a canvas in each step.

    Args:
        numbers: the normal numbers of a seed.
        seed: the canvas' seed.
        first: absolute position of its first column.
    """

    def __init__(self, numbers: Callable[[int], NormalNumbers], seed: int, first: int) -> None:
        self._numbers, self._seed, self._first = numbers, seed, first
        self._num_drawn = 0

    def draw(self, latents: Array) -> Array:
        """The next noise, with shape and device of `latents`, float32."""
        self._num_drawn += 1
        shape, draw = latents.shape, self._num_drawn
        noise = column_noise(self._numbers, self._seed, self._first, shape, draw)
        return copied_like(noise, latents)


class Canvas:
    """A job as wide as a recording, whose UNet calls see windows of it.

    Args:
        job: the job; its embeddings only say whether it is guided.
        starts: first columns of the windows; see `window_starts`.
        window: width of the windows in columns of latents.
        embeddings: of each window, (rows, tokens, width), as `DenoisingJob.embeddings`.
    """

    def __init__(
        self,
        job: DenoisingJob,
        starts: Sequence[int],
        window: int,
        embeddings: Sequence[Array],
    ) -> None:
        self.job = job
        weights = window_weights(starts, window, job.latents.shape[-1])
        self.windows = [
            Window(self, slice(start, start + window), copied_like(weight, job.latents), embedded)
            for start, weight, embedded in zip(starts, weights, embeddings, strict=True)
        ]
        self._sum: Array | None = None
        self._waiting = list(self.windows)

    @property
    def parts(self) -> Sequence[Window]:
        """The windows whose prediction this step still needs."""
        return self._waiting

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a window's latents."""
        return self.windows[0].shape

    @property
    def latents(self) -> Array:
        """(1, channels, height, columns) float32."""
        return self.job.latents

    @property
    def guidance(self) -> float:
        """Classifier-free guidance scale."""
        return self.job.guidance

    @property
    def num_rows(self) -> int:
        """Rows of a step: those of all windows."""
        return self.job.num_rows * len(self.windows)

    @property
    def num_steps(self) -> int:
        """Number of steps, each counted once per window."""
        return self.job.num_steps * len(self.windows)

    @property
    def steps_done(self) -> int:
        """Number of completed steps, each counted once per window."""
        num_seen = len(self.windows) - len(self._waiting)
        return self.job.steps_done * len(self.windows) + num_seen

    @property
    def steps_left(self) -> int:
        """Number of steps still to run, each counted once."""
        return self.job.steps_left

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, so that the latents can be decoded."""
        return self.job.is_done

    def take(self, window: Window, prediction: Array) -> None:
        """Take a window's prediction; with the last one, the canvas advances by a step."""
        xp = array_namespace(prediction)
        if self._sum is None:
            shape = (len(prediction), *self.latents.shape[1:])
            self._sum = xp.zeros(shape, dtype=xp.float32, device=device(self.latents))
        self._sum[..., window.columns] += xp.astype(prediction, xp.float32) * window.weight
        self._waiting.remove(window)
        if not self._waiting:
            blended, self._sum = self._sum, None
            self._waiting = list(self.windows)
            self.job.advance(blended)


class Window:
    """A window of a canvas, as a UNet call sees it.

    Args:
        canvas: the canvas.
        columns: its columns of the canvas.
        weight: weights of its columns, (width,).
        embeddings: (rows, tokens, width).
    """

    def __init__(self, canvas: Canvas, columns: slice, weight: Array, embeddings: Array) -> None:
        self._canvas = canvas
        self.columns = columns
        self.weight = weight
        self.embeddings = embeddings

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the window's latents."""
        shape: tuple[int, ...] = self._canvas.latents[..., self.columns].shape
        return shape

    @property
    def loras(self) -> LoraStack:
        """What changes the UNet: the canvas'."""
        return self._canvas.job.loras

    @property
    def num_rows(self) -> int:
        """Rows in the next UNet call: two if the step is guided, else one."""
        return self._canvas.job.num_rows

    @property
    def timestep(self) -> Array:
        """Timestep of the next step, a scalar."""
        return self._canvas.job.timestep

    def unet_rows(self) -> Array:
        """Input of the next UNet call, (rows, channels, height, width)."""
        return self._canvas.job.unet_rows()[..., self.columns]

    def unet_embeddings(self) -> Array:
        """Embeddings for the rows, (rows, tokens, width)."""
        return self.embeddings[-self.num_rows :]

    def unet_guidance(self, width: int) -> Array:
        """What the rows are told about guidance, (rows, width)."""
        return self._canvas.job.unet_guidance(width)

    def advance(self, prediction: Array) -> None:
        """Give the canvas the UNet's output for `unet_rows`."""
        self._canvas.take(self, prediction)
