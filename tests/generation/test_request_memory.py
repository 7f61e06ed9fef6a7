"""Large images in requests: bounded before they are decoded, one at a time, same results."""

import base64
import functools
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.request_memory import deep_png
from riffusion.audio.decoding_pool import DecodingPool
from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError, MediaError, ServerError
from riffusion.generation import input_images, input_resolver, request_memory
from riffusion.generation.generator import ClipGenerator
from riffusion.io.images import decode_image, memory_of_image
from tests.audio.hostile_audio import empty_frames
from tests.patience import PATIENCE_S, wait_until


@pytest.fixture(scope="module")
def generator() -> Iterator[ClipGenerator]:
    generator = ClipGenerator.load("data/demo-checkpoint", device="cpu")
    yield generator
    generator.close()


def encoded(width: int, height: int, mode: str = "RGB", image_format: str = "png") -> str:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, image_format, compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def request(**fields: Any) -> InferenceInput:
    start = {"prompt": "bells", "seed": 1}
    return InferenceInput.parse({"start": start, "num_inference_steps": 2, **fields})


TOO_LARGE = [
    *(("png", mode) for mode in ("RGBA", "L", "P", "1", "I;16", "LA")),
    ("jpeg", "CMYK"),
    ("gif", "P"),
    ("png", "deep"),
]


@functools.cache
def too_large(image_format: str, mode: str) -> str:
    if mode == "deep":
        return base64.b64encode(deep_png(6000, 3000)).decode()
    return encoded(6000, 8192, mode, image_format)


@pytest.mark.parametrize(("image_format", "image_mode"), TOO_LARGE)
@pytest.mark.parametrize("mode", ["img2img", "image_to_audio"])
def test_an_image_that_takes_too_much_memory_is_refused_by_its_header(
    generator: ClipGenerator,
    image_format: str,
    image_mode: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = too_large(image_format, image_mode)

    def refuse(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(input_images, "decode_image", refuse)
    with pytest.raises(InputError, match=r"^init_image: .* MiB are allowed, so send fewer pixels"):
        generator.resolve(request(init_image=text, mode=mode))
    if mode == "img2img":
        with pytest.raises(InputError, match=r"^mask_image: .* MiB are allowed"):
            generator.resolve(request(mask_image=text))


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("1", "png"),
        ("L", "png"),
        ("P", "png"),
        ("RGB", "png"),
        ("RGBA", "png"),
        ("I;16", "png"),
        ("F", "tiff"),
        ("CMYK", "jpeg"),
        ("RGB", "webp"),
        ("RGB", "gif"),
    ],
)
def test_no_image_takes_more_memory_than_its_header_says(mode: str, image_format: str) -> None:
    data = base64.b64decode(encoded(100, 50, mode, image_format))
    decoded = decode_image(data)
    pixel = len(decoded.getbands()) * np.dtype(np.asarray(decoded).dtype).itemsize
    assert memory_of_image(data) >= 100 * 50 * pixel
    assert memory_of_image(base64.b64decode(encoded(6000, 512))) <= request_memory.LARGE_IMAGE_BYTES


def noise_text(width: int, height: int) -> str:
    generator = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"init_image": noise_text(40, 700)},
        {"mask_image": noise_text(40, 300), "init_image": noise_text(40, 512)},
        {"init_image": noise_text(40, 512), "mode": "image_to_audio"},
    ],
)
def test_large_images_give_the_same_clips_as_others(
    generator: ClipGenerator, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = request(**fields)
    expected = generator.generate(generator.resolve(inputs))
    monkeypatch.setattr(request_memory, "LARGE_IMAGE_BYTES", 1000)
    resolved = generator.resolve(inputs)
    clip = generator.generate(resolved)
    assert np.array_equal(np.asarray(clip.image), np.asarray(expected.image))
    assert np.array_equal(clip.audio.waveform, expected.audio.waveform)
    assert resolved.init_duration_s == pytest.approx(0.4)
    held = [image for image in (resolved.init_image, resolved.mask_image) if image is not None]
    assert sum(image.width * image.height for image in held) <= 2 * 40 * 512
    if "mask_image" in fields or "mode" in fields:
        assert held[-1].mode == "L"  # neither the mask's pixels nor the clip's own are held


def test_large_images_are_decoded_one_at_a_time_and_small_ones_beside_them(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = input_images.decode_image
    inside, most, lock = 0, 0, threading.Lock()
    first, release = threading.Event(), threading.Event()

    def held(data: bytes) -> Image.Image:
        nonlocal inside, most
        if memory_of_image(data) <= request_memory.LARGE_IMAGE_BYTES:
            return decode(data)
        with lock:
            inside += 1
            most = max(most, inside)
        first.set()
        release.wait(60)
        with lock:
            inside -= 1
        return decode(data)

    monkeypatch.setattr(input_images, "decode_image", held)
    large = request(init_image=encoded(300, 8192, "RGBA"))
    monkeypatch.setattr(request_memory, "LARGE_IMAGE_BYTES", 20 * 2**20)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(generator.resolve, large) for _ in range(3)]
        assert first.wait(60)
        small = pool.submit(generator.resolve, request(init_image=encoded(8, 512)))
        assert small.result(60).init_image is not None  # while the large ones are held
        release.set()
        assert [future.result().init_image.size for future in waiting] == [(300, 512)] * 3  # type: ignore[union-attr]
    assert most == 1


def test_large_images_do_not_wait_for_a_recording_that_takes_long(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its own request has a large image."""
    decoders = DecodingPool(1, PATIENCE_S)
    monkeypatch.setattr(generator._resolver, "_decoder", decoders.decode)
    monkeypatch.setattr(request_memory, "LARGE_IMAGE_BYTES", 1000)
    recording = base64.b64encode(empty_frames()).decode()
    hostile = request(init_audio=recording, mask_image=encoded(40, 300))
    with ThreadPoolExecutor() as threads:
        refused = threads.submit(generator.resolve, hostile)
        wait_until(lambda: decoders.pids and not decoders._idle, "it isn't being decoded")
        large = threads.submit(generator.resolve, request(init_image=encoded(40, 700)))
        assert large.result(PATIENCE_S).init_image is not None
        assert not refused.done()
        decoders.close()
        with pytest.raises(ServerError, match="closed"):
            refused.result(PATIENCE_S)


@pytest.mark.parametrize(
    ("name", "field", "error"),
    [
        ("decode_audio", "init_audio", ValueError("dtype int64 is not supported")),
        ("decode_audio", "init_audio", MemoryError()),
        ("decode_audio", "init_audio", KeyError("s64")),
        ("decode_image", "init_image", OverflowError("too large")),
        ("decode_image", "mask_image", RuntimeError()),
    ],
)
def test_whatever_a_decoder_raises_is_the_requests_fault(
    generator: ClipGenerator,
    name: str,
    field: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    module = input_resolver if name == "decode_audio" else input_images
    monkeypatch.setattr(module, name, fail)
    with pytest.raises(MediaError, match=f"^{field}: cannot be decoded .*another format") as caught:
        generator.resolve(request(**{field: encoded(8, 8)}))
    assert caught.value.field == field
