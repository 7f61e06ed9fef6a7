"""Mel amplitudes ⇄ latents, for spectrograms of any width.

Loud is dark, as in images, but without their rounding to 8 bits. Amplitudes are relative to a level
that may change along the way: a model knows clips whose loudest part is black.
"""

import numpy as np
import numpy.typing as npt
import torch

from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError

FloatArray = npt.NDArray[np.float32]

_COLUMNS_AT_ONCE = 32
"""Columns of latents that are encoded or decoded together."""
_MARGIN_COLUMNS = 4
"""Columns on both sides that are encoded or decoded with them, as networks look beyond a column."""


class CanvasImages:
    """The conversion for one checkpoint. To be used in the thread that owns the model.

    Args:
        pipeline: the checkpoint.

    Raises:
        InputError: its spectrograms are in stereo.
    """

    def __init__(self, pipeline: RiffusionPipeline) -> None:
        self._pipeline = pipeline
        self._params = pipeline.spectrogram_params
        if self._params.stereo:
            raise InputError(
                "this checkpoint's spectrograms are in stereo, and recordings are edited in mono "
                "with the sides added afterwards; use a checkpoint with stereo=false"
            )

    @property
    def frames_per_column(self) -> int:
        """Frames in a column of latents."""
        return int(self._pipeline.vae_scale_factor)

    @property
    def columns_of_clip(self) -> int:
        """Columns of a clip of the usual length: of a window."""
        return self._pipeline.clip_columns

    def repaint(self, shares: FloatArray) -> torch.Tensor:
        """Mean share of repainting per latent: (bands, frames) → (1, 1, height, columns)."""
        padded = self._padded(torch.from_numpy(shares[::-1].copy()))
        return torch.nn.functional.avg_pool2d(padded[None, None], self.frames_per_column)

    @torch.inference_mode()
    def latents(self, amplitudes: FloatArray, level: FloatArray) -> torch.Tensor:
        """Latents of amplitudes, (1, channels, height, frames / frames_per_column) float32.

        Args:
            amplitudes: (bands, frames), whole columns.
            level: amplitude of black in each frame, (frames,) or (1,), above 0.
        """
        relative = np.minimum(amplitudes / level, 1.0) ** np.float32(self._params.power_for_image)
        pixels = self._padded(torch.from_numpy((1 - 2 * relative[::-1]).astype(np.float32)))
        factor = self.frames_per_column
        parts = [
            self._pipeline.encode_pixels(pixels[:, factor * first : factor * stop])[..., inside]
            for first, stop, inside in _chunks(pixels.shape[1] // factor)
        ]
        return torch.cat(parts, dim=-1)

    @torch.inference_mode()
    def amplitudes(self, latents: torch.Tensor, level: FloatArray) -> FloatArray:
        """The inverse of `latents`, but for what the autoencoder loses: (bands, frames)."""
        factor = self.frames_per_column
        parts = []
        for first, stop, inside in _chunks(latents.shape[-1]):
            pixels = self._pipeline.decode_latents(latents[..., first:stop])
            begin, end, _ = inside.indices(stop - first)
            parts.append(pixels[:, factor * begin : factor * end])
        pixels = torch.cat(parts, dim=-1)[: self._params.num_frequencies].flip(0)
        relative = ((1 - pixels) / 2).clamp(0, 1) ** (1 / self._params.power_for_image)
        found: FloatArray = relative.float().cpu().numpy() * level
        return found

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows mirrored at the bottom up to the height that the networks need."""
        missing = self._pipeline.padded_height - len(rows)
        return torch.cat([rows, rows[len(rows) - missing :].flip(0)]) if missing else rows


def _chunks(num_columns: int) -> list[tuple[int, int, slice]]:
    """Columns to compute together, each with the part of them that counts."""
    chunks = []
    for start in range(0, num_columns, _COLUMNS_AT_ONCE):
        end = min(start + _COLUMNS_AT_ONCE, num_columns)
        first, stop = max(0, start - _MARGIN_COLUMNS), min(end + _MARGIN_COLUMNS, num_columns)
        chunks.append((first, stop, slice(start - first, end - first)))
    return chunks
