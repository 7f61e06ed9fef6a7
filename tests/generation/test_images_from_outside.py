"""Init images and masks as other tools write them, in requests to the embedded checkpoint."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.errors import InputError
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.generation.media import Media
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.data_urls import data_url
from riffusion.io.images import encode_image
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams

TONE_HZ = 660.0
MAX_TONE_ERROR = 0.01
MAX_LENGTH_ERROR_S = 0.021
"""A started frame of the own step, of at most 20 ms, is kept."""
ORIENTATION = 274


@pytest.fixture(scope="module")
def generator() -> ClipGenerator:
    return ClipGenerator.load("data/demo-checkpoint", device="cpu")


def request(**changes: object) -> InferenceInput:
    start = {"prompt": "piano", "seed": 1, "denoising": 0.05}
    return InferenceInput.parse({"start": start, "num_inference_steps": 20} | changes)


def tone_image(params: SpectrogramParams, duration_s: float = 1.28) -> Image.Image:
    time_s = np.arange(round(duration_s * params.sample_rate)) / params.sample_rate
    tone = (0.3 * np.sin(2 * np.pi * TONE_HZ * time_s)).astype(np.float32)
    converter = SpectrogramImageConverter(params, "cpu")
    return converter.spectrogram_image_from_waveform(np.stack([tone] * (1 + params.stereo)))


def check_tone(clip: Clip, duration_s: float = 1.28) -> None:
    spectrum = np.abs(np.fft.rfft(clip.audio.waveform[0]))
    hz = spectrum.argmax() * clip.audio.sample_rate / clip.audio.num_samples
    assert hz == pytest.approx(TONE_HZ, rel=MAX_TONE_ERROR)
    length_s = clip.audio.num_samples / clip.audio.sample_rate
    assert length_s == pytest.approx(duration_s, abs=MAX_LENGTH_ERROR_S)


@pytest.mark.parametrize(
    "own",
    [
        SpectrogramParams(step_size_ms=5),
        SpectrogramParams(step_size_ms=20),
        SpectrogramParams(min_frequency=20, max_frequency=20_000),
        SpectrogramParams(stereo=True),
        SpectrogramParams(stereo=True, step_size_ms=5, max_frequency=20_000, num_frequencies=300),
        SpectrogramParams(sample_rate=22_050, num_frequencies=256),
    ],
    ids=["5 ms", "20 ms", "20 kHz", "stereo", "all", "22 kHz"],
)
def test_an_init_image_is_converted_from_its_own_parameters(
    generator: ClipGenerator, own: SpectrogramParams
) -> None:
    image = tone_image(own)
    text = data_url(encode_image(image, "png"), "image/png")
    sent = generator.resolve(request(init_image=text))
    given = generator.resolve(request(), Media(init_image=image))
    assert np.array_equal(np.asarray(sent.init_image), np.asarray(given.init_image))
    check_tone(generator.generate(sent))


def test_a_seed_image_file_is_converted(generator: ClipGenerator, tmp_path: Path) -> None:
    own = SpectrogramParams(step_size_ms=5, stereo=True)
    (tmp_path / "tone.png").write_bytes(encode_image(tone_image(own), "png"))
    with_library = ClipGenerator(generator.pipeline, SeedLibrary(tmp_path))
    try:
        resolved = with_library.resolve(request(seed_image_id="tone"))
        check_tone(with_library.generate(resolved))
    finally:
        with_library.close()


def test_the_checkpoints_own_images_keep_their_pixels(
    generator: ClipGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    image = tone_image(SpectrogramParams())
    bare = Image.fromarray(np.asarray(image))
    for one in (image, bare):
        resolved = generator.resolve(request(), Media(init_image=one))
        assert np.array_equal(np.asarray(resolved.init_image), np.asarray(image))
    assert not caplog.records


@pytest.mark.parametrize(
    ("tags", "width", "message"),
    [
        ({11000: 0}, 8, "sample_rate=0"),
        ({11010: 1000, 11020: 1001, 11030: 1001}, 61, "at most 60 s"),
    ],
)
def test_an_init_image_with_unusable_parameters_is_refused(
    generator: ClipGenerator, tags: dict[int, int], width: int, message: str
) -> None:
    image = Image.new("RGB", (width, 512))
    image.getexif().update(SpectrogramParams().to_exif() | tags)
    with pytest.raises(InputError, match=f"^init_image: .*{message}"):
        generator.resolve(request(), Media(init_image=image))


def test_an_init_image_out_of_range_is_refused(generator: ClipGenerator) -> None:
    own = SpectrogramParams(min_frequency=11_000, max_frequency=20_000)
    image = Image.effect_noise((32, 512), 60).convert("RGB")
    image.getexif().update(own.to_exif())
    with pytest.raises(InputError, match="^init_image: .*11000 to 20000 Hz; use another image"):
        generator.resolve(request(), Media(init_image=image))


def text_of(image: Image.Image, image_format: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, image_format, exif=image.getexif())
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("mode", ["img2img", "image_to_audio"])
def test_a_turned_image_is_heard_upright(generator: ClipGenerator, mode: str) -> None:
    upright = tone_image(SpectrogramParams())
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # stored lying on its side
    turned.getexif()[ORIENTATION] = 6
    clip = generator.generate(
        generator.resolve(request(mode=mode, init_image=text_of(turned, "PNG")))
    )
    check_tone(clip)


@pytest.mark.parametrize("mode", ["img2img", "image_to_audio"])
@pytest.mark.parametrize("kind", ["shares of white", "8 bits in 32", "16 bits"])
def test_an_image_of_other_numbers_is_heard_as_its_tone(
    generator: ClipGenerator, kind: str, mode: str
) -> None:
    grey = np.asarray(tone_image(SpectrogramParams()))[..., 0]
    numbers = {
        "shares of white": grey.astype(np.float32) / 255,
        "8 bits in 32": grey.astype(np.int32),
        "16 bits": grey.astype(np.uint16) * 257,
    }[kind]
    text = text_of(Image.fromarray(numbers), "TIFF")
    clip = generator.generate(generator.resolve(request(mode=mode, init_image=text)))
    check_tone(clip)
    answered = np.asarray(clip.image.convert("RGB"))
    if mode == "image_to_audio":
        assert np.array_equal(answered[..., 0], grey)


@pytest.mark.parametrize("field", ["init_image", "mask_image"])
@pytest.mark.parametrize("mode", ["img2img", "image_to_audio"])
def test_an_image_of_unknown_numbers_is_refused_by_its_field(
    generator: ClipGenerator, field: str, mode: str
) -> None:
    if mode == "image_to_audio" and field == "mask_image":
        return
    bad = Image.fromarray(np.full((512, 16), 700, np.int32))
    bad.putpixel((0, 0), 0)
    changes = {"init_image": text_of(Image.new("L", (16, 512)), "PNG"), field: text_of(bad, "TIFF")}
    with pytest.raises(InputError, match=f"^{field}: .*from 0 to 700.*8 bits"):
        generator.resolve(request(mode=mode, **changes))


def brush(mode: str, colour: str = "white") -> Image.Image:
    """A mask drawn on transparency: the left half is painted."""
    mask = Image.new("RGBA", (128, 512), (0, 0, 0, 0))
    mask.paste(colour, (0, 0, 64, 512))
    return {"RGBA": mask, "LA": mask.convert("LA"), "P": mask.quantize(4)}[mode]


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_of_a_mask_are_kept(
    generator: ClipGenerator, mode: str, image_format: str
) -> None:
    mask = brush(mode)
    mask = mask.convert("RGBA") if image_format != "PNG" else mask
    init = text_of(Image.new("L", (128, 512), 128), "PNG")
    resolved = generator.resolve(request(init_image=init, mask_image=text_of(mask, image_format)))
    assert resolved.mask_image is not None
    geometry = LatentGeometry(128, 512, vae_scale_factor=8, multiple=64)
    for one in (resolved.mask_image, mask):  # as requests and as the library's callers pass it
        repaint = geometry.repaint_from_mask(one)
        assert repaint[..., :64].min() == 1
        assert repaint[..., 64:].max() == 0


def test_a_mask_with_orientation_is_upright(generator: ClipGenerator) -> None:
    stored = brush("RGBA").transpose(Image.Transpose.ROTATE_90)
    stored.getexif()[ORIENTATION] = 6
    init = text_of(Image.new("L", (128, 512), 128), "PNG")
    resolved = generator.resolve(request(init_image=init, mask_image=text_of(stored, "PNG")))
    expected = np.asarray(brush("RGBA").convert("RGB"))
    assert np.array_equal(np.asarray(resolved.mask_image), expected)


def test_a_mask_in_black_on_transparency_is_told(
    generator: ClipGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    init = Image.new("RGB", (128, 512), "grey")
    generator.resolve(request(), Media(init_image=init, mask_image=brush("RGBA")))
    assert not caplog.records
    generator.resolve(request(), Media(init_image=init, mask_image=brush("RGBA", "black")))
    assert "mask_image keeps everything" in caplog.text
