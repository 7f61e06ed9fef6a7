"""Batches cut on a device are those that a loader makes of single examples."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.config import DataConfig
from riffusion.datasets.device_split import DeviceFeed, split_on_device
from riffusion.datasets.examples import Example, Examples, ImageExamples
from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.sampler import ResumableSampler, collated, example_batches
from riffusion.errors import InputError, MediaError
from tests.datasets.striped_dataset import LABELS, SIDE, make_striped_dataset
from tests.runtime import emulated_cuda

CUDA = torch.device("cuda")
BATCHES = 3


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    return DatasetFolder(make_striped_dataset(tmp_path / "stripes"))


def colour(folder: DatasetFolder, row: int) -> None:
    """Make an image one of three different planes."""
    path = folder.image_path("train", folder.rows("train")[row])
    pixels = np.asarray(Image.open(path).convert("RGB")).copy()
    pixels[..., 1] = 255 - pixels[..., 1]
    pixels[: SIDE // 2, :, 2] = 7
    Image.fromarray(pixels).save(path)


def images(folder: DatasetFolder, **data: Any) -> ImageExamples:
    return ImageExamples(folder, "train", DataConfig(dataset=folder.directory, **data), seed=5)


class Latents:
    """What `CircularlyShiftedLatents` uses of `LatentExamples`."""

    def __init__(self, latents: torch.Tensor) -> None:
        self.latents, self.rows = latents, list(range(len(latents)))
        self.width = latents.shape[-1]

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        return {"latents": self.latents[key[0]].float()}


def shifted_latents(num_shifts: int) -> CircularlyShiftedLatents:
    values = torch.randn((10, 3, 4, 9), generator=torch.Generator().manual_seed(0)).half()
    return CircularlyShiftedLatents(Latents(values), num_shifts, seed=3)  # type: ignore[arg-type]


def sampler_of(examples: Examples) -> ResumableSampler:
    return ResumableSampler(len(examples), 4, seed=1)


def loaded(examples: Examples, num_workers: int = 0) -> list[Example]:
    batches = example_batches(examples, sampler_of(examples), num_workers)
    return [next(batches) for _ in range(BATCHES)]


def on_emulated_device(examples: Examples, keep_images: bool) -> list[Example]:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        feed = DeviceFeed(examples, CUDA, keep_images)
        assert (feed.split is not None) == keep_images
        batches = [feed(batch) for batch in loaded(examples)]
        assert all(value.device.type == "cuda" for batch in batches for value in batch.values())
        return [{name: value.cpu() for name, value in batch.items()} for batch in batches]


def assert_same(found: list[Example], expected: list[Example], name: str) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys() == {name}
        assert one[name].dtype == other[name].dtype == torch.float32
        assert torch.equal(one[name], other[name])
        assert one[name].is_contiguous()


@pytest.mark.parametrize("keep_images", [False, True])
@pytest.mark.parametrize("coloured", [(), (0,), (7, 11)])
@pytest.mark.parametrize(
    "data",
    [{}, {"circular_shifts": 4}, {"crop_width": 11}, {"circular_shifts": 3, "crop_width": 8}],
)
def test_images_are_those_of_the_cpu(
    folder: DatasetFolder, data: dict[str, Any], coloured: tuple[int, ...], keep_images: bool
) -> None:
    for row in coloured:
        colour(folder, row)
    expected = loaded(images(folder, **data))
    found = on_emulated_device(images(folder, **data), keep_images)
    assert_same(found, expected, "pixels")
    assert len({batch["pixels"].numpy().tobytes() for batch in found}) == BATCHES


@pytest.mark.parametrize("num_shifts", [1, 2, 3])
def test_latents_are_those_of_the_cpu(num_shifts: int) -> None:
    expected = loaded(shifted_latents(num_shifts))
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        examples = shifted_latents(num_shifts)
        feed = DeviceFeed(examples, CUDA, keep_images=False)
        assert feed.split is not None and feed.split.data.dtype == torch.float16
        found = [
            {name: value.cpu() for name, value in feed(batch).items()} for batch in loaded(examples)
        ]
    assert_same(found, expected, "latents")


@pytest.mark.parametrize("keep_in_memory", [False, True])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_bytes_cross_the_loader_and_become_floats_on_a_cpu(
    folder: DatasetFolder, num_workers: int, keep_in_memory: bool
) -> None:
    data = {"crop_width": 8, "circular_shifts": 2, "keep_in_memory": keep_in_memory}
    expected = loaded(images(folder, **data))
    examples = images(folder, **data)
    feed = DeviceFeed(examples, torch.device("cpu"), keep_in_memory)
    batches = loaded(examples, num_workers)
    assert {tuple(batch["pixels"].shape) for batch in batches} == {(4, 1, SIDE, 8)}
    assert {batch["pixels"].dtype for batch in batches} == {torch.uint8}
    assert_same([feed(batch) for batch in batches], expected, "pixels")


def test_images_of_several_sizes_stay_on_the_cpu(folder: DatasetFolder) -> None:
    path = folder.image_path("train", folder.rows("train")[5])
    Image.open(path).resize((SIDE + 9, SIDE)).save(path)
    expected = loaded(images(folder, crop_width=8))
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        examples = images(folder, crop_width=8)
        feed = DeviceFeed(examples, CUDA, keep_images=True)
        assert feed.split is None
        found = [{"pixels": feed(batch)["pixels"].cpu()} for batch in loaded(examples)]
    assert_same(found, expected, "pixels")  # type: ignore[arg-type]


def test_a_split_that_does_not_fit_stays_on_the_cpu(
    folder: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch, emulated_cuda.install(patch):
        small = type("Properties", (), {"total_memory": 1000})
        patch.setattr(torch.cuda, "get_device_properties", lambda *_: small)
        assert split_on_device(shifted_latents(2), CUDA, keep_images=True) is None
        examples = images(folder)
        assert split_on_device(examples, CUDA, keep_images=True) is None
        assert examples.form == "bytes"


def test_all_images_are_read_in_order(folder: DatasetFolder) -> None:
    examples = images(folder)
    read = list(examples.all_pixels())
    assert len(read) == len(examples) == 12 * len(LABELS)
    for row, pixels in enumerate(read):
        assert np.array_equal(pixels, examples.pixels(row))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("form", ["pixels", "bytes"])
def test_images_of_several_sizes_are_refused_if_they_are_not_cropped(
    folder: DatasetFolder, form: Any, num_workers: int
) -> None:
    path = folder.image_path("train", folder.rows("train")[5])
    Image.open(path).resize((SIDE + 9, SIDE)).save(path)
    examples = images(folder)
    examples.form = form
    message = (
        f"data.dataset has images of {SIDE} x {SIDE} and {SIDE + 9} x {SIDE} pixels, but all of a "
        "batch must have one size; set data.resolution, or make the data set again with clips of "
        "one length"
    )
    with pytest.raises(InputError) as caught:
        batches = example_batches(examples, sampler_of(examples), num_workers)
        list(itertools.islice(batches, len(examples)))
    assert str(caught.value) == message


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(folder: DatasetFolder, num_workers: int) -> None:
    path = folder.image_path("train", folder.rows("train")[5])
    path.write_bytes(b"no image")
    examples = images(folder)
    with pytest.raises(MediaError) as caught:
        list(itertools.islice(example_batches(examples, sampler_of(examples), num_workers), 24))
    line = str(caught.value)
    assert line.startswith(f"image={str(path)!r} cannot be read: ")
    assert "\n" not in line


def test_one_image_in_colour_makes_its_batch_one_of_three_planes() -> None:
    grey, colours = torch.full((1, 2, 2), 9), torch.arange(12).reshape(3, 2, 2)
    batch = collated([{"pixels": grey}, {"pixels": colours}])["pixels"]
    assert torch.equal(batch[0], grey.expand(3, 2, 2))
    assert torch.equal(batch[1], colours)
