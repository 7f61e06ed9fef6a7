"""Seed images and masks by id: listing, precedence, copies, hostile ids."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.generation.seed_library import SeedLibrary, find_data_dir
from riffusion.spectrogram.params import SpectrogramParams

ROOT = Path(__file__).resolve().parents[2]
HOSTILE_IDS = [
    "../x",
    "../../seed_images/og_beat",
    "seed_images/og_beat",
    "/etc/passwd",
    str(ROOT / "data" / "seed_images" / "og_beat"),
    "og_beat.png",
    "og_beat\0",
    "OG_BEAT",
    " og_beat",
    "",
    ".",
    "mask_top_third_75\n",
    "x" * 10_000,
    "é" * 10_000,
    "\ud800",
    None,
    7,
    b"og_beat",
    ["og_beat"],
    {"og_beat": 1},
]


@pytest.fixture(scope="module")
def library():
    return SeedLibrary.default()


def image(path, grey, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), grey if mode in ("L", "P") else (grey, grey, grey)).save(
        path, **options
    )


def test_the_committed_ids(library):
    assert library.seed_image_ids == ("agile", "marim", "motorway", "og_beat", "vibes")
    assert len(library.mask_image_ids) == 6
    assert all(mask_id.startswith("mask_") for mask_id in library.mask_image_ids)


def test_images_are_rgb_copies_with_their_exif(library):
    first = library.seed_image("og_beat")
    assert first.mode == "RGB"
    assert SpectrogramParams.from_exif(first.getexif()) == SpectrogramParams()
    with Image.open(ROOT / "data" / "seed_images" / "og_beat.png") as image:
        np.testing.assert_array_equal(np.asarray(first), np.asarray(image))
    first.putpixel((0, 0), (1, 2, 3))
    first.getexif()[11000] = 1
    second = library.seed_image("og_beat")
    assert second.getpixel((0, 0)) != (1, 2, 3)
    assert SpectrogramParams.from_exif(second.getexif()) == SpectrogramParams()


def test_masks_are_rgb(library):
    mask = library.mask_image("mask_top_third_75")
    assert mask.mode == "RGB"
    assert mask.getpixel((0, 0)) == (191, 191, 191)
    assert mask.getpixel((0, 511)) == (255, 255, 255)


@pytest.mark.parametrize("image_id", HOSTILE_IDS, ids=lambda value: ascii(value)[:20])
@pytest.mark.parametrize("field", ["seed_image_id", "mask_image_id"])
def test_hostile_ids_are_unknown(library, field, image_id):
    find = library.seed_image if field == "seed_image_id" else library.mask_image
    known = library.seed_image_ids if field == "seed_image_id" else library.mask_image_ids
    with pytest.raises(InputError) as caught:
        find(image_id)
    assert caught.value.field == field
    message = str(caught.value)
    assert message.startswith(f"{field}: ")
    assert all(name in message for name in known)
    assert len(message) < 400
    assert message.isprintable()


def test_masks_and_seed_images_are_separate(library):
    with pytest.raises(InputError):
        library.seed_image("mask_top_third_75")
    with pytest.raises(InputError):
        library.mask_image("og_beat")


@given(image_id=st.text())
def test_any_unknown_text_is_refused(image_id):
    library = SeedLibrary(ROOT / "data" / "masks")
    with pytest.raises(InputError):
        library.seed_image(image_id)


def test_the_checkpoints_images_take_precedence(tmp_path):
    image(tmp_path / "seed_images" / "og_beat.png", 10)
    image(tmp_path / "seed_images" / "own.jpg", 20)
    image(tmp_path / "seed_images" / "mask_own.png", 30, mode="L")
    library = SeedLibrary.default(tmp_path)
    assert library.seed_image("og_beat").size == (8, 8)
    assert library.seed_image("own").getpixel((0, 0)) == (20, 20, 20)
    assert library.mask_image("mask_own").getpixel((0, 0)) == (30, 30, 30)
    assert library.seed_image("agile").size == (512, 512)
    assert "own" in library.seed_image_ids
    assert "mask_own" in library.mask_image_ids


def test_a_checkpoint_without_images_is_fine(tmp_path):
    assert "og_beat" in SeedLibrary.default(tmp_path).seed_image_ids


def test_only_regular_image_files_count(tmp_path):
    image(tmp_path / "a.png", 1)
    image(tmp_path / "a.jpg", 2)
    image(tmp_path / "b.webp", 3, lossless=True)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "stored.png").symlink_to(tmp_path / "a.png")
    library = SeedLibrary(tmp_path)
    assert library.seed_image_ids == ("a", "b", "stored")
    assert library.seed_image("a").getpixel((0, 0)) == (1, 1, 1)


def test_palettes_and_transparency_are_resolved(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "mask_clear.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.png")
    library = SeedLibrary(tmp_path)
    assert library.mask_image("mask_clear").getpixel((0, 0)) == (0, 0, 0)
    assert library.seed_image("palette").mode == "RGB"


def test_damaged_and_huge_files_are_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n not an image")
    Image.new("1", (9000, 8)).save(tmp_path / "wide.png")
    library = SeedLibrary(tmp_path)
    for image_id in ("broken", "wide"):
        with pytest.raises(MediaError, match=f"{image_id}.png"):
            library.seed_image(image_id)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.*cannot be listed"):
        SeedLibrary(tmp_path / "nowhere")


def test_data_is_found_from_the_working_directory_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_data_dir() == ROOT / "data"
    image(tmp_path / "data" / "seed_images" / "here.png", 5)
    assert find_data_dir() == tmp_path / "data"
    assert SeedLibrary.default().seed_image_ids == ("here",)


def test_without_data_the_error_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("riffusion.io.bundle.__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    with pytest.raises(InputError, match=r"riffusion\.loops\.seed_images --output data"):
        SeedLibrary.default()
