"""Images of every format, mode and size that Pillow writes, with frames, EXIF data and damage."""

import functools
import io
import random
import struct
import zlib

from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.damage import damaged

FORMATS = (
    *("png", "jpeg", "webp", "gif", "bmp", "tiff", "ico", "ppm", "tga", "pcx", "jpeg2000", "dds"),
    *("sgi", "xbm", "pdf"),
)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
SIZES = ((1, 1), (1, 512), (512, 1), (2, 3), (64, 512), (512, 512), (513, 511), (8, 3000))
FALLBACK = ("png", "RGB")
"""For formats that can't hold a mode."""
_CANNOT_HOLD_IT = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    struct.error,
    RuntimeError,
    AssertionError,
)
"""What Pillow raises when a format can't hold an image or its EXIF data."""
_EXIF_TAGS = (0x0112, 0x9286, 11000, 11005, 11010, 11020, 11030, 11040, 11060, 11070, 11080, 11100)
"""Orientation, a comment, and most of those of the spectrogram's parameters."""
_EXIF_VALUES = (0, -1, 1, 44_100, 2**31 - 1, 0.0, 1e30, float("nan"), "", "htk", "[" * 10_000)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def png_of(width: int, height: int, num_rows: int, depth: int = 1) -> bytes:
    """A grey PNG file whose header promises `height` rows and that has `num_rows` black ones."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + (min(width, 2**17) * depth + 7) // 8)
    pixels = b"".join(compressor.compress(row) for _ in range(num_rows)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@functools.cache
def bombs() -> tuple[bytes, ...]:
    """Small files that become, or claim to become, large images."""
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**24), 9))
    good = png_of(8, 8, 8)
    return (
        png_of(20_000, 20_000, 2000),
        png_of(2**31 - 1, 2**31 - 1, 1),
        png_of(0, 0, 0),
        png_of(100_000, 1, 1),
        png_of(1, 100_000, 100_000),
        png_of(512, 512, 3),  # rows are missing
        good[:33] + text + good[33:],
        gif + b";",
        b"BM" + struct.pack("<IIIIiiHHI", 0, 0, 54, 40, 2**30, -(2**30), 1, 24, 0) + bytes(20),
        b"P6 99999 99999 255\n",
        b"P6 -5 5 255\n" + bytes(75),
        svg,
    )


@st.composite
def _images(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(FORMATS))
    mode = draw(st.sampled_from(MODES))
    size = draw(st.sampled_from(SIZES))
    noise = random.Random(draw(st.integers(0, 7)))
    num_frames = draw(st.sampled_from([1, 1, 1, 3]))
    options: dict[str, object] = {}
    if num_frames > 1:
        options = {"save_all": True, "append_images": [_image(mode, size, noise)] * 2}
    if draw(st.integers(0, 3)) == 0:
        exif = Image.Exif()
        tags, values = st.sampled_from(_EXIF_TAGS), st.sampled_from(_EXIF_VALUES)
        exif.update(draw(st.dictionaries(tags, values, min_size=1)))
        options["exif"] = exif
    for format_, mode_, options_ in (
        (name, mode, options),
        (name, mode, {}),
        (name, "RGB", {}),
        (*FALLBACK, {}),
    ):
        buffer = io.BytesIO()
        try:
            _image(mode_, size, noise).save(buffer, format_, **options_)
        except _CANNOT_HOLD_IT:
            continue
        return buffer.getvalue()
    raise AssertionError("a PNG file of RGB can always be written")


def _image(mode: str, size: tuple[int, int], noise: random.Random) -> Image.Image:
    raw = Image.frombytes("L", size, noise.randbytes(size[0] * size[1]))
    if mode == "LAB":
        return Image.merge("LAB", (raw, raw, raw))
    if mode == "I;16":
        return raw.convert("I").convert("I;16")
    if mode in ("CMYK", "YCbCr", "HSV"):
        return raw.convert("RGB").convert(mode)
    return raw.convert(mode)


def image_files() -> st.SearchStrategy[bytes]:
    """Image files; some are damaged, some are bombs, some are no images."""
    return st.one_of(
        damaged(_images()),
        damaged(_images()),
        damaged(st.sampled_from(bombs())),
        st.binary(max_size=64),
    )
