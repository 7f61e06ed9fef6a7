"""A mask covers the init image as it was given: its rows are frequencies, its columns times."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from riffusion.datatypes import InferenceInput
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.media import Media
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams

LOW_HZ, HIGH_HZ = 660.0, 3000.0
DURATION_S = 1.28
OWN = {
    "usual": SpectrogramParams(),
    "20 kHz": SpectrogramParams(min_frequency=20, max_frequency=20_000),
    "8 kHz, 5 ms": SpectrogramParams(max_frequency=8_000, step_size_ms=5),
    "stereo, 300 rows": SpectrogramParams(stereo=True, max_frequency=16_000, num_frequencies=300),
    "Slaney's scale, 20 ms": SpectrogramParams(mel_scale_type="slaney", step_size_ms=20),
    "22 kHz": SpectrogramParams(sample_rate=22_050, num_frequencies=256),
}


@pytest.fixture(scope="module")
def generator() -> ClipGenerator:
    return ClipGenerator.load("data/demo-checkpoint", device="cpu")


def request(**changes: object) -> InferenceInput:
    return InferenceInput.parse({"start": {"prompt": "piano", "seed": 1}} | changes)


def two_tones(params: SpectrogramParams) -> Image.Image:
    """A low tone in the first half, a high tone in the second."""
    time_s = np.arange(round(DURATION_S * params.sample_rate)) / params.sample_rate
    hz = np.where(time_s < DURATION_S / 2, LOW_HZ, HIGH_HZ)
    tone = (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    converter = SpectrogramImageConverter(params, "cpu")
    return converter.spectrogram_image_from_waveform(np.stack([tone] * (1 + params.stereo)))


def darkness(image: Image.Image) -> npt.NDArray[np.int64]:
    return 255 - np.asarray(image.convert("RGB"))[..., 2].astype(np.int64)


def mask_over_high_tone(image: Image.Image, scale: int) -> Image.Image:
    """What a person paints who sees the image: white over the high tone and half a second of it."""
    shares = darkness(image)
    row = int(shares[:, image.width * 3 // 4].argmax())
    band = max(2, image.height // 40)
    mask = Image.new("L", image.size)
    mask.paste(255, (image.width // 2, row - band, image.width, row + band + 1))
    return mask.resize((mask.width * scale, mask.height * scale), Image.Resampling.NEAREST)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("name", OWN)
def test_what_was_painted_over_is_repainted(
    generator: ClipGenerator, name: str, scale: int
) -> None:
    image = two_tones(OWN[name])
    media = Media(init_image=image, mask_image=mask_over_high_tone(image, scale))
    resolved = generator.resolve(request(), media)
    assert resolved.init_image is not None
    assert resolved.mask_image is not None
    shown = resolved.init_image
    repaint = LatentGeometry(*shown.size, 8, 64).repaint_from_mask(resolved.mask_image)[0, 0]
    shares = darkness(shown)
    low = int(shares[:, shown.width // 4].argmax())
    high = int(shares[:, shown.width * 3 // 4].argmax())
    assert high < low
    last_quarter = slice(shown.width * 5 // 8, shown.width)
    first_part = slice(0, shown.width * 3 // 8)
    assert repaint[high, last_quarter].min() > 0.9
    assert repaint[high, first_part].max() < 0.1
    assert repaint[low, : shown.width].max() < 0.1
    height = np.flatnonzero(repaint[: shown.height, shown.width * 3 // 4] > 0.5).size
    assert height < shown.height // 8


def test_the_masks_of_unchanged_images_keep_their_pixels(generator: ClipGenerator) -> None:
    image = two_tones(OWN["usual"])
    mask = mask_over_high_tone(image, 1)
    resolved = generator.resolve(request(), Media(init_image=image, mask_image=mask))
    assert np.array_equal(np.asarray(resolved.mask_image)[..., 0], np.asarray(mask))


def test_masks_of_the_library_cover_the_image_as_given(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    image = two_tones(OWN["20 kHz"])
    (tmp_path / "masks").mkdir()
    mask_over_high_tone(image, 1).save(tmp_path / "masks" / "mask_band.png")
    given = generator.resolve(
        request(), Media(init_image=image, mask_image=mask_over_high_tone(image, 1))
    )
    library = SeedLibrary(tmp_path, tmp_path / "masks")
    with_library = ClipGenerator(generator.pipeline, library)
    try:
        by_id = with_library.resolve(request(mask_image_id="mask_band"), Media(init_image=image))
    finally:
        with_library.close()
    assert np.array_equal(np.asarray(by_id.mask_image), np.asarray(given.mask_image))
