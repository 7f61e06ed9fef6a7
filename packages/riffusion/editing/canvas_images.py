"""Mel amplitudes ⇄ latents, for spectrograms of any width.

Loud is dark, as in images, but without their rounding to 8 bits. Amplitudes are relative to a level
that may change along the way: a model knows clips whose loudest part is black.
"""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from riffusion.diffusion.arrays import Array, array_namespace, as_numpy
from riffusion.editing.rendering import Target
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator

FloatArray = npt.NDArray[np.float32]

_COLUMNS_AT_ONCE = 32
"""Columns of latents that are encoded or decoded together."""
_SHORTEST_REST = 9
"""Fewer columns at the end than that are computed with those before them."""
_MARGIN_COLUMNS = 4
"""Columns on both sides that are encoded or decoded with them, as networks look beyond a column."""


class CanvasImages:
    """The conversion for one checkpoint. Networks run in the engine's thread, between its steps.

    Args:
        generator: has the checkpoint and the engine.

    Raises:
        InputError: its spectrograms are in stereo.
    """

    def __init__(self, generator: ClipGenerator) -> None:
        self._engine = generator.engine
        self._pipeline = generator.pipeline
        self._params = generator.pipeline.spectrogram_params
        if self._params.stereo:
            raise InputError(
                "this checkpoint's spectrograms are in stereo, but recordings are edited in mono; "
                "use a checkpoint with stereo=false in its spectrogram_params.json"
            )

    @property
    def frames_per_column(self) -> int:
        """Frames in a column of latents."""
        return int(self._pipeline.vae_scale_factor)

    @property
    def columns_of_clip(self) -> int:
        """Columns of a clip of the usual length: of a window."""
        return self._pipeline.clip_columns

    def repaint(self, bands: FloatArray, frames: FloatArray) -> FloatArray:
        """Mean share of repainting per latent, (1, 1, height, columns).

        Args:
            bands: share of each mel band, (bands,).
            frames: share of each frame, (columns · frames_per_column,). A cell's share is the
                product of its band's and its frame's.
        """
        height, width = (
            shares.reshape(-1, self.frames_per_column).mean(1)
            for shares in (self._padded(bands[::-1]), frames)
        )
        return np.asarray((height[:, None] * width)[None, None], np.float32)

    def latents(self, source: Target, first: int, num_columns: int, level: FloatArray) -> Array:
        """Latents of mel amplitudes, (1, channels, height, num_columns) float32.

        Args:
            source: gives the amplitudes.
            first: frame at which the first column starts.
            num_columns: number of columns.
            level: amplitude of black in each frame, (num_columns · frames_per_column,), above 0.
        """
        pixels = partial(self._pixels, source, first, level)
        parts = [
            self._encoded(pixels(begin, end))[..., inside]
            for begin, end, inside in _chunks(0, num_columns, num_columns)
        ]
        return array_namespace(*parts).concat(parts, axis=-1)

    def latents_around(
        self, source: Target, first: int, num_columns: int, level: FloatArray, hole: range
    ) -> Array:
        """The same, with zeros in a hole: the mean of latents, and what noise is drawn around.

        What is before and after it is encoded together.

        Args:
            source, first, num_columns, level: see `latents`.
            hole: columns whose latents aren't needed.
        """
        start, stop = hole.start + _MARGIN_COLUMNS, hole.stop - _MARGIN_COLUMNS
        if start >= stop:
            return self.latents(source, first, num_columns, level)
        sides = [
            self._pixels(source, first, level, *side) for side in ((0, start), (stop, num_columns))
        ]
        found = self._encoded(np.concatenate(sides, axis=-1))
        xp = array_namespace(found)
        empty = xp.zeros_like(found[..., :1])
        middle = xp.broadcast_to(empty, (*found.shape[:-1], len(hole)))
        before, after = found[..., : hole.start], found[..., start + _MARGIN_COLUMNS :]
        return xp.concat([before, middle, after], axis=-1)

    def amplitudes(self, latents: Array, start: int, stop: int, level: FloatArray) -> FloatArray:
        """The inverse of `latents` for some columns, but for what the autoencoder loses.

        Args:
            latents: (1, channels, height, columns).
            start, stop: the wanted columns.
            level: amplitude of black in their frames.

        Returns:
            (bands, (stop - start) · frames_per_column).
        """
        factor = self.frames_per_column
        parts = []
        for begin, end, inside in _chunks(start, stop, latents.shape[-1]):
            decode = partial(self._pipeline.decode_latents, latents[..., begin:end])
            pixels = as_numpy(self._engine.call(decode).result())
            parts.append(pixels[:, factor * inside.start : factor * inside.stop])
        shade = (1 - np.concatenate(parts, axis=-1)[: self._params.num_frequencies][::-1]) / 2
        relative = np.clip(shade, 0, 1) ** np.float32(1 / self._params.power_for_image)
        return np.asarray(relative * level, np.float32)

    def frames(self, latents: Array, first: int, last: int, level: FloatArray) -> FloatArray:
        """Amplitudes of some frames, (bands, last - first); see `amplitudes`.

        Args:
            latents: (1, channels, height, columns).
            first, last: the first frame, counted from that of the latents, and the one after the
                last.
            level: amplitude of black in all frames of the latents.
        """
        factor = self.frames_per_column
        start, stop = first // factor, -(-last // factor)
        found = self.amplitudes(latents, start, stop, level[factor * start : factor * stop])
        return found[:, first - factor * start :][:, : last - first]

    def _encoded(self, pixels: FloatArray) -> Array:
        return self._engine.call(partial(self._pipeline.encode_pixels, pixels)).result()

    def _pixels(
        self, source: Target, first: int, level: FloatArray, begin: int, end: int
    ) -> FloatArray:
        """Pixels of the columns from `begin` to `end`, (padded height, frames) in [-1, 1]."""
        frames = slice(self.frames_per_column * begin, self.frames_per_column * end)
        amplitudes = source(first + frames.start, frames.stop - frames.start)
        relative = np.minimum(amplitudes / level[frames], 1.0)
        shade = relative[::-1] ** np.float32(self._params.power_for_image)
        return self._padded((1 - 2 * shade).astype(np.float32))

    def _padded(self, rows: FloatArray) -> FloatArray:
        """Rows mirrored at the bottom up to the height that the networks need."""
        missing = self._pipeline.padded_height - len(rows)
        return np.concatenate([rows, rows[len(rows) - missing :][::-1]]) if missing else rows


def _chunks(start: int, stop: int, num_columns: int) -> Iterator[tuple[int, int, slice]]:
    """Columns to compute together, each with the part of them that counts."""
    starts = range(start, max(start + 1, stop - _SHORTEST_REST + 1), _COLUMNS_AT_ONCE)
    for begin, end in itertools.pairwise([*starts, stop]):
        first, last = max(0, begin - _MARGIN_COLUMNS), min(end + _MARGIN_COLUMNS, num_columns)
        yield first, last, slice(begin - first, end - first)
