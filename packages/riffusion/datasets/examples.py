"""Training examples in an order that depends only on the seed and the step, so runs can be resumed.

`ResumableSampler` yields keys (row, draw): the row of the data set, and the number of the draw,
which seeds everything random about the example: where it is cropped, which caption it gets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.errors import InputError, MediaError
from riffusion.spectrogram.image import rgb_image

Key = tuple[int, int]


class Example(TypedDict, total=False):
    """What a recipe's network is given, after batching with a leading axis.

    pixels: (3, height, width) in [-1, 1]. latents: (channels, height, width), scaled.
    input_ids: (tokens,). encoding: (tokens, width) of an audio encoder, or the small image that
    one in training hears, (1, height, width) in [-1, 1]; kept: 1, or 0 to go without it, ().
    """

    pixels: torch.Tensor
    latents: torch.Tensor
    input_ids: torch.Tensor
    encoding: torch.Tensor
    kept: torch.Tensor


class Examples(Protocol):
    """A map-style data set of examples by key."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key, /) -> Example: ...


@dataclass
class ResumableSampler(Sampler[list[Key]]):
    """Batches of keys for one process, from step `first_batch` on, without end.

    Every epoch is a permutation of the rows of its own. Processes take turns within a step, so that
    a step sees the same examples however many processes share it.

    Args:
        num_rows: of the data set.
        batch_size: keys a batch.
        seed: of the permutations.
        first_batch: batches of this process that are already behind it.
        process, num_processes: which one this is, of how many.
    """

    num_rows: int
    batch_size: int
    seed: int
    first_batch: int = 0
    process: int = 0
    num_processes: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        batch = self.first_batch
        epoch, permutation = -1, np.empty(0, dtype=np.int64)
        while True:
            first_draw = (batch * self.num_processes + self.process) * self.batch_size
            keys = []
            for draw in range(first_draw, first_draw + self.batch_size):
                if draw // self.num_rows != epoch:
                    epoch = draw // self.num_rows
                    permutation = np.random.default_rng((self.seed, epoch)).permutation(
                        self.num_rows
                    )
                keys.append((int(permutation[draw % self.num_rows]), draw))
            yield keys
            batch += 1


def example_loader(
    examples: Examples, order: ResumableSampler, num_workers: int = 0
) -> DataLoader[Example]:
    """Batches of examples in that order."""
    return DataLoader(
        examples,  # type: ignore[arg-type] # the protocol is all that it needs
        batch_sampler=order,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


class ImageExamples(Dataset[Example]):
    """Images of a data set as pixels, rolled and cropped at random.

    Args:
        folder: the data set.
        split: of it.
        config: see `DataConfig`.
        seed: what a draw's crop and roll follow from, with its number.

    Raises:
        InputError: the split is empty, or images are smaller than the crop.
    """

    def __init__(self, folder: DatasetFolder, split: Split, config: DataConfig, seed: int) -> None:
        self.folder, self.split, self.config, self.seed = folder, split, config, seed
        self.rows = folder.rows(split)
        if not self.rows:
            raise InputError(f"data.dataset={str(folder.directory)!r} has no {split} images")
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Example:
        row, draw = key
        pixels = self.pixels(row)
        rng = np.random.default_rng((self.seed, draw))
        if (num_shifts := self.config.circular_shifts) > 1:
            shift = int(rng.integers(num_shifts)) * pixels.shape[-1] // num_shifts
            pixels = np.roll(pixels, shift, axis=-1)
        width = self.config.crop_width
        if width is not None:
            if width > pixels.shape[-1]:
                raise InputError(
                    f"data.crop_width={width} exceeds the images' {pixels.shape[-1]} columns"
                )
            left = int(rng.integers(pixels.shape[-1] - width + 1))
            pixels = pixels[..., left : left + width]
        return {"pixels": pixels_from_bytes(torch.from_numpy(np.array(pixels, order="C")))}

    def pixels(self, row: int) -> np.ndarray:
        """A row's image: uint8 (1 or 3, height, width); one plane where all three are equal.

        Raises:
            MediaError: it is missing or damaged.
        """
        if row in self._kept:
            return self._kept[row]
        path = self.folder.image_path(self.split, self.rows[row])
        try:
            with Image.open(path) as image:
                grey = image.mode == "L"
                decoded = image.copy() if grey else rgb_image(image)
        except OSError as error:
            raise MediaError(f"image={str(path)!r} cannot be read: {error}") from error
        side = self.config.resolution
        if side is not None and decoded.size != (side, side):
            decoded = decoded.resize((side, side), Image.Resampling.LANCZOS)
        array = np.asarray(decoded)
        if not grey and (array == array[..., :1]).all():
            array = array[..., 0]
        pixels = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        if self.config.keep_in_memory:
            self._kept[row] = np.ascontiguousarray(pixels)
        return pixels


def pixels_from_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (1 or 3, height, width) → float32 (3, height, width) in [-1, 1]."""
    return (pixels.float() / 127.5 - 1).expand(3, -1, -1)
