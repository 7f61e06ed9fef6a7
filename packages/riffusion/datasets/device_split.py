"""A split of a data set in the memory of a GPU, where batches of it are cut.

Small networks are bound by feeding: decoding, cropping, collating and copying a batch takes longer
than training on it. If the whole split is on the device as one tensor, a batch needs three numbers
per example, its row, shift and crop, which are the same that `ImageExamples` and
`CircularlyShiftedLatents` use, so the examples are the same, too.

    examples[key]          {"plan": (row, shift, left)}, with captions and so on
      ─▶ DataLoader        (batch, 3) integers
      ─▶ DeviceSplit.cut   pixels or latents, (batch, channels, height, width)
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import (
    DerivedExamples,
    Example,
    Examples,
    ImageExamples,
    pixels_from_bytes,
)

logger = logging.getLogger(__name__)

_LARGEST_SHARE = 0.5
"""Largest share of the device's memory that a split may take; the networks need the rest."""
_ROWS_PER_COPY = 256


class DeviceSplit:
    """The images or latents of a split, on a device.

    Args:
        name: `pixels` or `latents`.
        data: (rows, channels, height, width); pixels as bytes with one or three planes.
        width: width of the batches' examples; None for that of `data`.
    """

    def __init__(self, name: str, data: torch.Tensor, width: int | None = None) -> None:
        self.name, self.data = name, data
        self.frames = torch.arange(width or data.shape[-1], device=data.device)

    def cut(self, batch: Example) -> Example:
        """Replace the `plan` of each example of a batch by its pixels or latents.

        Args:
            batch: a batch on the device.
        """
        rest: dict[str, Any] = dict(batch)
        row, shift, left = rest.pop("plan").unbind(dim=1)
        rows = self.data[row]
        columns = ((left - shift)[:, None] + self.frames) % rows.shape[-1]
        index = columns[:, None, None, :].expand(*rows.shape[:-1], -1)
        found = rows.gather(-1, index)
        rest[self.name] = pixels_from_bytes(found) if self.name == "pixels" else found.float()
        return rest  # type: ignore[return-value]


class DeviceFeed:
    """Turns a loader's batches into those that an objective takes, on its device.

    It changes the form of the examples, so it must be made before their loader.

    Args:
        examples: images or latents, or examples that add something to them.
        device: the device of training.
        keep_images: whether images should be kept in a GPU's memory; latents always are.
    """

    def __init__(self, examples: Examples, device: torch.device, keep_images: bool) -> None:
        self.device = device
        self.split = split_on_device(examples, device, keep_images)

    def __call__(self, batch: Example) -> Example:
        """A batch on the device, with pixels as floats in [-1, 1].

        Args:
            batch: the loader's batch, in pinned memory if there is a GPU.
        """
        moved: Example = {
            name: value.to(self.device, non_blocking=True)  # type: ignore[attr-defined]
            for name, value in batch.items()
        }  # type: ignore[assignment]
        if self.split is not None:
            return self.split.cut(moved)
        if "pixels" in moved and moved["pixels"].dtype == torch.uint8:
            moved["pixels"] = pixels_from_bytes(moved["pixels"])
        return moved


def split_on_device(
    examples: Examples, device: torch.device, keep_images: bool
) -> DeviceSplit | None:
    """Put a split into a GPU's memory, and let its examples return their plans alone.

    Images that stay on the CPU are returned as bytes.

    Args:
        examples: images or latents, or examples that add something to them.
        device: the device of training.
        keep_images: whether images should be kept, too; latents always are.

    Returns:
        None if the split stays where it is: the device isn't a GPU or is too small, latents are
        streamed, or the images differ in size.
    """
    inner = examples
    while isinstance(inner, DerivedExamples) and not isinstance(inner, CircularlyShiftedLatents):
        inner = inner.examples
    if isinstance(inner, ImageExamples):
        inner.form = "bytes"
    if device.type != "cuda":
        return None
    if isinstance(inner, CircularlyShiftedLatents):
        latents = inner.examples.latents
        if latents is None or not _fits(latents.nbytes, device):
            return None
        inner.returns_plans = True
        return DeviceSplit("latents", latents.to(device))
    if isinstance(inner, ImageExamples) and keep_images:
        inner.form = "plan"
        data = _all_pixels(inner, device)
        if data is not None:
            return DeviceSplit("pixels", data, inner.config.crop_width)
        inner.form = "bytes"
    return None


def _all_pixels(examples: ImageExamples, device: torch.device) -> torch.Tensor | None:
    """All images as bytes on the device; None if they don't fit, or differ in size."""
    first = examples.pixels(0)
    if not _fits(len(examples) * 3 * first[0].nbytes, device):
        logger.info("the images do not fit into the GPU's memory beside the networks")
        return None
    data: torch.Tensor | None = None
    for begin, images in _in_parts(examples.all_pixels()):
        if any(image.shape[1:] != first.shape[1:] for image in images):
            logger.info("the images differ in size, so batches are made on the CPU")
            return None
        planes = max(len(image) for image in images)
        if data is None or planes > data.shape[1]:
            wider = torch.empty(
                (len(examples), planes, *first.shape[1:]), dtype=torch.uint8, device=device
            )
            if data is not None:
                wider[:begin] = data[:begin]
            data = wider
        planes = data.shape[1]
        part = np.stack([np.broadcast_to(image, (planes, *image.shape[1:])) for image in images])
        data[begin : begin + len(part)] = torch.from_numpy(part).to(device)
    return data


def _in_parts(images: Iterable[np.ndarray]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(index of the first image, images), `_ROWS_PER_COPY` at a time."""
    begin, part = 0, list[np.ndarray]()
    for image in images:
        part.append(image)
        if len(part) == _ROWS_PER_COPY:
            yield begin, part
            begin, part = begin + len(part), []
    if part:
        yield begin, part


def _fits(num_bytes: int, device: torch.device) -> bool:
    memory = torch.cuda.get_device_properties(device).total_memory
    return bool(num_bytes <= _LARGEST_SHARE * memory)
