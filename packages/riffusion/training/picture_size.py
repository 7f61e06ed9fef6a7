"""How large a data set's pictures are, and whether networks can take them."""

from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.training.config import DataConfig
from riffusion.training.dataset_folder import DatasetFolder


def picture_size(folder: DatasetFolder, config: DataConfig) -> tuple[int, int]:
    """(height, width) of what is trained on, after resizing and cropping, by the first picture.

    Raises:
        InputError: there are no pictures.
        MediaError: the first one is missing or damaged.
    """
    rows = folder.rows("train")
    if not rows:
        raise InputError(f"data.dataset={str(folder.directory)!r} has no train pictures")
    path = folder.image_path("train", rows[0])
    if config.resolution is not None:
        height = width = config.resolution
    else:
        try:
            with Image.open(path) as image:
                width, height = image.size
        except OSError as error:
            raise MediaError(f"picture={str(path)!r} cannot be read: {error}") from error
    return height, config.crop_width or width


def check_multiple(size: tuple[int, int], multiple: int, config: DataConfig, what: str) -> None:
    """Check that a network can halve pictures as often as it does.

    Args:
        size: (height, width) in pixels.
        multiple: of what they must be.
        config: where they come from, for the message.
        what: halves them, such as `the VAE`.

    Raises:
        InputError: that isn't so.
    """
    if all(side % multiple == 0 for side in size):
        return
    height, width = size
    if config.resolution is not None and config.crop_width is None:
        name = f"data.resolution={config.resolution}"
    elif config.crop_width is not None and height % multiple == 0:
        name = f"data.crop_width={config.crop_width}"
    else:
        name = f"pictures of {width} x {height} pixels"
    raise InputError(
        f"{name} must be a multiple of {multiple}, by which {what} divides; "
        f"{_nearest(size, multiple)} would do"
    )


def _nearest(size: tuple[int, int], multiple: int) -> str:
    sides = {max(multiple, round(side / multiple) * multiple) for side in size}
    return " and ".join(str(side) for side in sorted(sides))
