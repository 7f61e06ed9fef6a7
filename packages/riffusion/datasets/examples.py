"""Images of a data set as training examples."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, Protocol, TypedDict

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.errors import InputError, MediaError
from riffusion.runtime.processors import num_usable_cpus
from riffusion.spectrogram.image import rgb_image

Key = tuple[int, int]
"""(row, draw): the row of the data set, and the running number of the draw, which seeds everything
random about the example."""

SHIFT_STREAM, REPLAY_STREAM, DROPOUT_STREAM = 1, 2, 3
"""Tags that keep random streams with the same seed and draw apart: np.random.default_rng((seed,
draw, tag)). Changing them changes every training run."""


class Example(TypedDict, total=False):
    """One training example; batches have a leading axis.

    pixels: (3, height, width) in [-1, 1]; or uint8 (1 or 3, height, width), see `ImageExamples`.
    latents: (channels, height, width), scaled.
    plan: (3,) integers in place of pixels or latents, see `plan`.
    input_ids: (tokens,), the tokenized caption.
    caption: scalar integer, the caption's number in a table of embeddings.
    encoding: (tokens, width), an audio encoding; or (1, height, width) in [-1, 1], the small image
        that an audio encoder in training reads.
    kept: scalar; 1, or 0 if the encoding is dropped.
    """

    pixels: torch.Tensor
    latents: torch.Tensor
    plan: torch.Tensor
    input_ids: torch.Tensor
    caption: torch.Tensor
    encoding: torch.Tensor
    kept: torch.Tensor


class Examples(Protocol):
    """A map-style data set that returns an example for each key."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key, /) -> Example: ...


class DerivedExamples(Dataset[Example]):
    """Examples that add something to others, or change them, row by row.

    Attributes:
        examples: the others.
    """

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)


class ImageExamples(Dataset[Example]):
    """Images of a data set as pixels, circularly shifted and cropped at random.

    Args:
        folder: the data set.
        split: the split to read.
        config: see `DataConfig`.
        seed: together with the number of the draw, it determines crop and shift.

    Attributes:
        form: what an example has: `pixels` as floats, `bytes` for pixels as read, which a loader
            copies faster, or a `plan` for `DeviceSplit`.

    Raises:
        InputError: the split is empty, or images are smaller than the crop.
    """

    form: Literal["pixels", "bytes", "plan"] = "pixels"

    def __init__(self, folder: DatasetFolder, split: Split, config: DataConfig, seed: int) -> None:
        self.folder, self.split, self.config, self.seed = folder, split, config, seed
        self.rows = folder.rows(split)
        if not self.rows:
            raise InputError(f"data.dataset={folder.address!r} has no {split} images")
        self._kept: dict[int, np.ndarray] = {}
        self._width: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Example:
        row, draw = key
        if self.form == "plan":  # all images have one size
            if self._width is None:
                self._width = self.pixels(0).shape[-1]
            shift, left = self._shift_and_left(draw, self._width)
            return plan(row, shift, left)
        pixels = self.pixels(row)
        width = self.config.crop_width or pixels.shape[-1]
        shift, left = self._shift_and_left(draw, pixels.shape[-1])
        if shift:
            pixels = np.roll(pixels, shift, axis=-1)
        found = torch.from_numpy(np.array(pixels[..., left : left + width], order="C"))
        return {"pixels": found if self.form == "bytes" else pixels_from_bytes(found)}

    def _shift_and_left(self, draw: int, num_frames: int) -> tuple[int, int]:
        """By how many frames the image of a draw is shifted, and at which one it is then cut."""
        rng = np.random.default_rng((self.seed, draw))
        shift = left = 0
        if (num_shifts := self.config.circular_shifts) > 1:
            shift = int(rng.integers(num_shifts)) * num_frames // num_shifts
        width = self.config.crop_width
        if width is not None:
            if width > num_frames:
                raise InputError(f"data.crop_width={width} exceeds the images' {num_frames} frames")
            left = int(rng.integers(num_frames - width + 1))
        return shift, left

    def all_pixels(self) -> Iterator[np.ndarray]:
        """All rows' images in order, read by all processors.

        Raises:
            MediaError: as `pixels`.
        """
        num_threads = num_usable_cpus()
        with ThreadPoolExecutor(num_threads) as pool:  # decoding a PNG releases Python's lock
            pending: deque[Future[np.ndarray]] = deque()
            for row in range(len(self)):
                pending.append(pool.submit(self.pixels, row))
                if len(pending) > 4 * num_threads:  # so that few wait in memory
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def pixels(self, row: int) -> np.ndarray:
        """A row's image: uint8 (1 or 3, height, width); one plane if all three are equal.

        Raises:
            MediaError: the image is missing or damaged.
        """
        if row in self._kept:
            return self._kept[row]
        image = self.folder.read_image(self.split, self.rows[row])
        grey = image.mode == "L"
        try:
            decoded = image if grey else rgb_image(image)
        except InputError as error:
            name = self.rows[row].file_name
            raise MediaError(f"image={name!r} cannot be read: {error}") from error
        side = self.config.resolution
        if side is not None and decoded.size != (side, side):
            decoded = decoded.resize((side, side), Image.Resampling.LANCZOS)
        array = np.asarray(decoded)
        if not grey and all(np.array_equal(array[..., 0], array[..., n]) for n in (1, 2)):
            array = array[..., 0]
        pixels = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        if self.config.keep_in_memory and self.form != "plan":
            self._kept[row] = np.ascontiguousarray(pixels)
        return pixels


def plan(row: int, shift: int, left: int) -> Example:
    """An example that `DeviceSplit` replaces by its pixels or latents.

    Args:
        row: the row of the split.
        shift: frames by which it is shifted to the right, circularly.
        left: frame of the shifted row at which the example begins.
    """
    return {"plan": torch.tensor((row, shift, left))}


def pixels_from_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (…, 1 or 3, height, width) → float32 (…, 3, height, width) in [-1, 1]."""
    floats = pixels.float() / 127.5 - 1
    return floats.expand(*floats.shape[:-3], 3, -1, -1).contiguous()
