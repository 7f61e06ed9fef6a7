"""docs/sounds.md in the repository: complete, small, and as `make media` writes it."""

import json
import re

import pytest
from PIL import Image

from corpora.general_midi.sounds import find_sounds
from riffusion.audio import num_samples, read_audio
from riffusion.checkpoint.distillation import read_distillation
from scripts.media.sounds_page import (
    FOLDER,
    MAX_BYTES,
    PAGE,
    RATE_HZ,
    REAL,
    SIDE,
    drawn_columns,
    page_text,
)
from tests.docs.readme import ROOT, TEXT

CHECKPOINT = ROOT / "data/demo-checkpoint"
FILES = (ROOT / PAGE).with_name(FOLDER)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / PAGE).read_text(encoding="utf-8")


def test_it_is_what_make_media_writes_for_the_embedded_checkpoint(page: str) -> None:
    config = json.loads((CHECKPOINT / "unet/config.json").read_text(encoding="utf-8"))
    columns = drawn_columns(read_distillation(CHECKPOINT, config))
    assert page == page_text(find_sounds(), [REAL, *columns]), "run: make media"


def test_it_has_every_sound_of_the_corpus(page: str) -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| !", page, re.MULTILINE)
    assert rows == [sound.label for sound in find_sounds()]
    assert len(rows) == 32


def test_its_files_are_the_ones_that_there_are(page: str) -> None:
    named = re.findall(rf"\]\({FOLDER}/([^)]+)\)", page)
    assert len(named) == len(set(named)) >= 2 * 2 * 32
    assert {path.name for path in FILES.iterdir()} == set(named)


def test_page_and_files_are_within_their_budget() -> None:
    total = sum(path.stat().st_size for path in (ROOT / PAGE, *FILES.iterdir()))
    assert total < MAX_BYTES


def test_clips_are_whole_and_pictures_are_not_empty() -> None:
    files = sorted(FILES.iterdir())
    assert files
    for path in files:
        if path.suffix == ".mp3":
            segment = read_audio(path)
            assert (segment.frame_rate, segment.channels) == (RATE_HZ, 1), path
            assert num_samples(segment) == 5.12 * RATE_HZ, path
            assert segment.dBFS > -40, path
        else:
            picture = Image.open(path).convert("L")
            assert picture.size == (SIDE, SIDE), path
            darkest, brightest = picture.getextrema()
            assert brightest - darkest > 100, path


def test_the_readme_links_to_it() -> None:
    assert f"]({PAGE})" in TEXT
