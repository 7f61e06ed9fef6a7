"""Seed images and masks by id.

Ids come from requests, so they are only looked up in a table of the existing files; they never
become part of a path.
"""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from PIL import Image

from riffusion.errors import InputError, shortened
from riffusion.io.bundle import DISTRIBUTION, bundle_roots
from riffusion.io.images import MAX_WIDTH, read_image
from riffusion.spectrogram.image import rgb_image

logger = logging.getLogger(__name__)

SEED_IMAGE_DIRECTORY = "seed_images"
MASK_DIRECTORY = "masks"
MASK_PREFIX = "mask_"
"""Prefix of the file names of masks, in any directory."""

_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
"""Extensions of images; if a directory has a name with several, the first of these is used."""
_MAX_CACHED_IMAGES = 64
"""512×512 RGB images take 0.8 MB each."""
_MAX_IDS_SHOWN = 40


class SeedLibrary:
    """The seed images and masks in some directories.

    The directories are listed once, when the library is created. Regular files count, and symbolic
    links to them, because model caches store files as links.

    Args:
        directories: an id in an earlier directory hides the same id in a later one.

    Raises:
        InputError: a directory doesn't exist.
    """

    def __init__(self, *directories: Path) -> None:
        files: dict[str, Path] = {}
        for directory in directories:
            for image_id, path in _images(directory).items():
                files.setdefault(image_id, path)
        self._seed_images = {i: p for i, p in files.items() if not i.startswith(MASK_PREFIX)}
        self._masks = {i: p for i, p in files.items() if i.startswith(MASK_PREFIX)}
        # A cache per instance, so that it is freed with the library.
        self._image = functools.lru_cache(_MAX_CACHED_IMAGES)(_read_rgb)

    @classmethod
    def default(cls, checkpoint_dir: Path | None = None) -> Self:
        """The images of the data directory and of a checkpoint, whose images take precedence.

        Args:
            checkpoint_dir: a directory that may contain `seed_images/`, with seed images and masks.

        Raises:
            InputError: neither directory exists.
        """
        directories = []
        if checkpoint_dir is not None:
            directories.append(checkpoint_dir / SEED_IMAGE_DIRECTORY)
        data_dir = find_data_dir()
        if data_dir is not None:
            directories += [data_dir / SEED_IMAGE_DIRECTORY, data_dir / MASK_DIRECTORY]
        directories = [directory for directory in directories if directory.is_dir()]
        if not directories:
            raise InputError(
                f"data/{SEED_IMAGE_DIRECTORY} is in none of "
                f"{', '.join(map(str, bundle_roots()))}; install {DISTRIBUTION} again, or create "
                "it with `python -m riffusion.loops.seed_images --output data`"
            )
        logger.info("seed images and masks from %s", ", ".join(map(str, directories)))
        return cls(*directories)

    @property
    def seed_image_ids(self) -> tuple[str, ...]:
        """The ids of all seed images, sorted."""
        return tuple(sorted(self._seed_images))

    @property
    def mask_image_ids(self) -> tuple[str, ...]:
        """The ids of all masks, sorted."""
        return tuple(sorted(self._masks))

    def seed_image(self, image_id: str) -> Image.Image:
        """A copy of a seed image, RGB, with its EXIF.

        Raises:
            InputError: the id is unknown.
            MediaError: its file is damaged or too large.
        """
        return self._find("seed_image_id", image_id, self._seed_images)

    def mask_image(self, image_id: str) -> Image.Image:
        """A copy of a mask, RGB: white is repainted, black and transparent are kept.

        Raises:
            InputError: the id is unknown.
            MediaError: its file is damaged or too large.
        """
        return self._find("mask_image_id", image_id, self._masks)

    def _find(self, field: str, image_id: str, table: Mapping[str, Path]) -> Image.Image:
        path = table.get(image_id) if isinstance(image_id, str) else None
        if path is None:
            known = ", ".join(sorted(table)[:_MAX_IDS_SHOWN]) or "(no ids)"
            shown = shortened(repr(image_id))
            raise InputError(f"{shown} is unknown; use one of: {known}", field=field)
        return self._image(path).copy()


def find_data_dir() -> Path | None:
    """The first directory `data` with seed images; see `bundle_roots` for where it may be."""
    for root in bundle_roots():
        if (root / "data" / SEED_IMAGE_DIRECTORY).is_dir():
            return root / "data"
    return None


def _images(directory: Path) -> dict[str, Path]:
    """The images in a directory, by file name without extension."""
    try:
        files = [path for path in directory.iterdir() if path.is_file()]
    except OSError as error:
        raise InputError(
            f"directory={directory} cannot be listed ({error.strerror}); it must hold images "
            f"({', '.join(_SUFFIXES)})"
        ) from error
    found: dict[str, Path] = {}
    for suffix in _SUFFIXES:
        for path in sorted(files):
            if path.suffix.lower() == suffix:
                found.setdefault(path.stem, path)
    return found


def _read_rgb(path: Path) -> Image.Image:
    """An image file as RGB. Its EXIF is in `info`, which copies keep."""
    image = read_image(path, max_width=MAX_WIDTH)
    rgb = rgb_image(image, "black" if path.stem.startswith(MASK_PREFIX) else "white")
    if "exif" in image.info:
        rgb.info["exif"] = image.info["exif"]
    return rgb
