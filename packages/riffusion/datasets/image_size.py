"""Size and spectrogram parameters of training images, and checks that networks accept them."""

from dataclasses import replace

from riffusion.checkpoint.autoencoders import Autoencoder, downsampling_factor
from riffusion.datasets.config import DataConfig
from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams


def image_size(folder: DatasetFolder, config: DataConfig) -> tuple[int, int]:
    """(height, width) of the training images after resizing and cropping; read from the first one.

    Raises:
        InputError: there are no images.
        MediaError: the first image is missing or damaged.
    """
    rows = folder.rows("train")
    if not rows:
        raise InputError(f"data.dataset={folder.address!r} has no train images")
    if config.resolution is not None:
        height = width = config.resolution
    else:
        height, width = folder.image_size()
    return height, config.crop_width or width


def resized_params(folder: DatasetFolder, config: DataConfig) -> SpectrogramParams:
    """Spectrogram parameters of the training images: resizing changes mel bands and time steps.

    Raises:
        InputError: the time step would no longer be a whole number of milliseconds, or would exceed
            the analysis window.
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
            f"data.resolution={side} gives images of {width} frames a step of {step_size_ms:g} ms; "
            "the step must be whole milliseconds, below "
            f"window_duration_ms={params.window_duration_ms}: choose another resolution, or make "
            "the data set in that size"
        )
    return replace(params, num_frequencies=side, step_size_ms=int(step_size_ms))


def check_fits_vae(folder: DatasetFolder, config: DataConfig, vae: Autoencoder) -> tuple[int, int]:
    """Check that a VAE can encode the training images.

    Returns:
        (height, width) of the images in pixels.

    Raises:
        InputError: height or width is not a multiple of the VAE's downsampling factor.
        MediaError: the first image is missing or damaged.
    """
    size = image_size(folder, config)
    check_multiple(size, downsampling_factor(vae), config, "the VAE")
    return size


def check_multiple(size: tuple[int, int], multiple: int, config: DataConfig, what: str) -> None:
    """Check that height and width are multiples of a network's downsampling factor.

    Args:
        size: (height, width) in pixels.
        multiple: the downsampling factor.
        config: the configuration that determines the size, for the message.
        what: name of the network, such as `the VAE`, for the message.

    Raises:
        InputError: height or width is not a multiple.
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
        f"{name} must be a multiple of {multiple}, by which {what} divides; use "
        f"{_nearest(size, multiple)}"
    )


def _nearest(size: tuple[int, int], multiple: int) -> str:
    sides = {max(multiple, round(side / multiple) * multiple) for side in size}
    return " and ".join(str(side) for side in sorted(sides))
