"""Bounds on the memory that the media of all requests take together.

A file of some kilobytes can hold an image of 50 million pixels. What an image costs is checked in
its header, before any pixel is decoded. Large images are decoded one at a time, waiting requests
don't hold them, and their memory is returned to the system. JPEG's scaling on load isn't used: it
scales both sides, and the width is the clip's time.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.errors import MediaError, RiffusionError
from riffusion.io.data_urls import bytes_from_data_url
from riffusion.io.images import memory_of_image
from riffusion.runtime.freed_memory import return_freed_memory

logger = logging.getLogger(__name__)

MAX_IMAGE_BYTES = 192 * 2**20
"""Most memory for one image: 6000×8192 pixels in RGB, half as many in grey, a third with
transparency or 16 bits."""
LARGE_IMAGE_BYTES = 40 * 2**20
"""Images that take more are decoded one at a time; a minute at 512 rows takes at most 36.9 MB."""
LARGE_AUDIO_S = 12.0
"""Longer audio is turned into an image one at a time; a minute takes over 1 GB for a moment."""

_one_at_a_time = threading.RLock()


def large_image(text: str | None, field: str) -> bytes | None:
    """The encoded image of a request's field if it is large when decoded, else None.

    Raises:
        MediaError: it is larger than `MAX_IMAGE_BYTES`.
    """
    if text is None:
        return None
    num_bytes = 0
    with suppress(MediaError):  # decoding it will say what is wrong
        data = bytes_from_data_url(text, field)
        num_bytes = memory_of_image(data)
    if num_bytes > MAX_IMAGE_BYTES:
        raise MediaError(
            f"the image would take {num_bytes >> 20} MiB of memory; at most "
            f"{MAX_IMAGE_BYTES >> 20} MiB are allowed, so send fewer pixels, or 8-bit RGB",
            field,
        )
    return data if num_bytes > LARGE_IMAGE_BYTES else None


@contextmanager
def one_at_a_time(is_large: bool) -> Iterator[None]:
    """Context for decoding: if `is_large`, other threads wait, and memory is returned after it."""
    if not is_large:
        yield
        return
    with _one_at_a_time:
        try:
            yield
        finally:
            return_freed_memory()


def shrunk_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask of an image's size, which the pipeline treats exactly as it treats `mask`."""
    share = LatentGeometry(*size, 1, 1).repaint_from_mask(mask)[0, 0]
    return Image.fromarray(np.rint(share * 255).astype(np.uint8))


def has_large_media(inputs: InferenceInput) -> bool:
    """Whether an image of the request is large.

    Raises:
        MediaError: one is larger than `MAX_IMAGE_BYTES`.
    """
    init_image = large_image(inputs.init_image, "init_image")
    mask_image = large_image(inputs.mask_image, "mask_image")
    return init_image is not None or mask_image is not None


@contextmanager
def decoding(field: str) -> Iterator[None]:
    """Name the field in errors, and turn whatever decoders raise into `MediaError`.

    The bytes are the client's, so a decoder's failure is the request's.
    """
    try:
        yield
    except MediaError as error:
        raise MediaError(str(error), field) from error
    except RiffusionError:
        raise
    except Exception as error:
        logger.exception("a decoder failed on %s", field)
        reason = str(error) or type(error).__name__
        raise MediaError(
            f"cannot be decoded ({reason}); send it in another format", field
        ) from error
