"""How large a data set's images are, what they mean, and whether networks can take them."""

from dataclasses import replace

from PIL import Image

from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError, MediaError
from riffusion.spectrogram.params import SpectrogramParams


def image_size(folder: DatasetFolder, config: DataConfig) -> tuple[int, int]:
    """(height, width) of what is trained on, after resizing and cropping, by the first image.

    Raises:
        InputError: there are no images.
        MediaError: the first one is missing or damaged.
    """
    rows = folder.rows("train")
    if not rows:
        raise InputError(f"data.dataset={str(folder.directory)!r} has no train images")
    path = folder.image_path("train", rows[0])
    if config.resolution is not None:
        height = width = config.resolution
    else:
        try:
            with Image.open(path) as image:
                width, height = image.size
        except OSError as error:
            raise MediaError(f"image={str(path)!r} cannot be read: {error}") from error
    return height, config.crop_width or width


def resized_params(folder: DatasetFolder, config: DataConfig) -> SpectrogramParams:
    """Spectrogram parameters of what is trained on: a resized image has other rows and steps.

    Raises:
        InputError: columns would no longer be whole milliseconds apart, or further than the window
            that each of them was seen through.
        MediaError: the first image is missing or damaged.
    """
    params, side = folder.params, config.resolution
    if side is None:
        return params
    whole = config.model_copy(update={"resolution": None, "crop_width": None})
    _, width = image_size(folder, whole)
    step_size_ms = params.step_size_ms * width / side
    if step_size_ms % 1 or step_size_ms >= params.window_duration_ms:
        raise InputError(
            f"data.resolution={side} puts the columns of images {width} wide {step_size_ms:g} ms "
            f"apart; whole milliseconds below window_duration_ms={params.window_duration_ms} are "
            "needed: choose another resolution, or make the data set in that size"
        )
    return replace(params, num_frequencies=side, step_size_ms=int(step_size_ms))


def check_multiple(size: tuple[int, int], multiple: int, config: DataConfig, what: str) -> None:
    """Check that a network can halve images as often as it does.

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
        name = f"images of {width} x {height} pixels"
    raise InputError(
        f"{name} must be a multiple of {multiple}, by which {what} divides; "
        f"{_nearest(size, multiple)} would do"
    )


def _nearest(size: tuple[int, int], multiple: int) -> str:
    sides = {max(multiple, round(side / multiple) * multiple) for side in size}
    return " and ".join(str(side) for side in sorted(sides))
