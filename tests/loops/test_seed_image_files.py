"""The committed seed images, masks and manifest, and the code that generates them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.masks import MASKS, beat_lines, gradient
from riffusion.loops.seed_images import main, make_seed_image
from riffusion.spectrogram.params import SpectrogramParams

DATA = Path(__file__).resolve().parents[2] / "data"
IDS = ["og_beat", "agile", "marim", "motorway", "vibes"]
MASK_IDS = [
    "mask_beat_lines_80",
    "mask_gradient_dark",
    "mask_gradient_top_70",
    "mask_gradient_top_fifth_75",
    "mask_top_third_75",
    "mask_top_third_95",
]
PIXEL_TOLERANCE = 1
"""Grey levels; the rounding of FFTs differs between machines."""
MAX_FILE_BYTES = 300_000


@pytest.fixture(scope="module")
def manifest():
    return json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    main(["--output", str(directory)])
    return directory


def test_manifest_lists_exactly_the_existing_files(manifest):
    assert [entry["id"] for entry in manifest["images"]] == IDS + MASK_IDS
    listed = {entry["file"] for entry in manifest["images"]}
    existing = {
        path.relative_to(DATA).as_posix()
        for folder in ("seed_images", "masks")
        for path in (DATA / folder).iterdir()
    }
    assert listed == existing
    assert manifest["spectrogram_params"]["max_frequency"] == 10_000


def test_manifest_describes_each_file_correctly(manifest):
    for entry in manifest["images"]:
        data = (DATA / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["id"]
        assert len(data) < MAX_FILE_BYTES
        with Image.open(DATA / entry["file"]) as image:
            assert image.format == "PNG"
            assert image.size == (entry["width"], entry["height"]) == (512, 512)
        assert entry["licence"] == "MIT"
        assert "riffusion.loops" in entry["origin"]
        if entry["kind"] == "seed_image":
            assert entry["beats"] * 60 / entry["tempo_bpm"] == 5.12
            assert entry["key"] == ARRANGEMENTS[entry["id"]].key


def test_regenerating_gives_the_committed_images(regenerated, manifest):
    for entry in manifest["images"]:
        with (
            Image.open(DATA / entry["file"]) as committed,
            Image.open(regenerated / entry["file"]) as made,
        ):
            assert committed.mode == made.mode
            difference = np.abs(np.asarray(committed).astype(int) - np.asarray(made).astype(int))
        assert difference.max() <= PIXEL_TOLERANCE, entry["id"]
    made_again = json.loads((regenerated / "manifest.json").read_text(encoding="utf-8"))
    for committed_entry, entry in zip(manifest["images"], made_again["images"], strict=True):
        assert {**entry, "sha256": ""} == {**committed_entry, "sha256": ""}


@pytest.mark.parametrize("image_id", IDS)
def test_seed_images_carry_their_parameters(image_id):
    with Image.open(DATA / "seed_images" / f"{image_id}.png") as image:
        assert image.mode == "RGB"
        exif = image.getexif()
        assert SpectrogramParams.from_exif(exif) == SpectrogramParams()
        assert SpectrogramParams.max_value_from_exif(exif) > 1e6
        pixels = np.asarray(image)
    assert pixels.min() == 0  # the loudest amplitude is black
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()
    # Dense enough for img2img: most pixels are grey, neither white nor black.
    assert 155 < pixels.mean() < 200
    assert 25 < pixels.std() < 40


def test_seed_image_with_other_tempo_beats_and_key():
    image, waveform = make_seed_image("agile", tempo_bpm=120, beats=4, key="C minor", seed=3)
    assert image.size == (200, 512)
    assert waveform.shape == (1, 200 * 441)
    assert SpectrogramParams.from_exif(image.copy().getexif()) == SpectrogramParams()
    other, _ = make_seed_image("agile", tempo_bpm=120, beats=4, key="D minor", seed=3)
    assert not np.array_equal(np.asarray(image), np.asarray(other))


@pytest.mark.parametrize(
    ("mask_id", "darkest", "dark_rows"),
    [
        ("mask_beat_lines_80", 204, 256),
        ("mask_gradient_dark", 31, 256),
        ("mask_gradient_top_70", 178, 256),
        ("mask_gradient_top_fifth_75", 191, 154),
        ("mask_top_third_75", 191, 171),
        ("mask_top_third_95", 242, 171),
    ],
)
def test_masks_keep_the_top_and_repaint_the_bottom(mask_id, darkest, dark_rows):
    with Image.open(DATA / "masks" / f"{mask_id}.png") as image:
        pixels = np.asarray(image)
    assert pixels.min() == darkest == pixels[0].min()
    darkest_of_row = pixels.min(axis=1).astype(int)
    assert (np.diff(darkest_of_row) >= 0).all()
    last_dark_row = int(np.flatnonzero(darkest_of_row < 255)[-1])
    assert abs(last_dark_row + 1 - dark_rows) <= 30
    assert (pixels[last_dark_row + 1 :] == 255).all()


def test_beat_lines_are_at_the_beats_and_wrap_around():
    shades = beat_lines(0.8)
    top = shades[0]
    assert np.flatnonzero(top < 0.81)[0] == 0
    for beat in range(8):
        np.testing.assert_allclose(np.roll(top, 64 * beat), top)
        assert top[64 * beat] == pytest.approx(0.8)
        assert top[(64 * beat + 32) % 512] == 1.0
    np.testing.assert_allclose(top[1:], top[1:][::-1])  # the line at 0 continues at the right edge


def test_gradient_has_its_plateau_and_end():
    shades = gradient(0.3, 0.25, 0.75)
    np.testing.assert_allclose(shades[:128], 0.3)
    np.testing.assert_allclose(shades[384:], 1.0)
    np.testing.assert_allclose(shades[255:257].mean(), 0.65, atol=1e-6)


def test_tables_have_the_ids_that_frontends_request():
    assert list(ARRANGEMENTS) == IDS
    assert list(MASKS) == MASK_IDS
