"""The files that the web page's engine is compared with are what Python gives."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from riffusion.io.images import decode_image
from riffusion.spectrogram.image_converter import params_from_image
from scripts.write_engine_golden import GOLDEN, PRESETS_FILE, golden, presets_text

MIN_PSNR_DB = 60.0
"""Images differ by rounding between processors; unrelated ones have 15 dB."""
TOLERANCE = 2e-6
"""As random numbers differ between processors; see `riffusion.diffusion.random_numbers`."""


@pytest.fixture(scope="module")
def makers() -> dict[str, Callable[[], Any]]:
    return golden()


@pytest.mark.parametrize("name", ["numbers.json", "prompts.json", "samplers.json", "masks.json"])
def test_values_are_current(name: str, makers: dict[str, Callable[[], Any]]) -> None:
    _check_equal(makers[name](), json.loads((GOLDEN / name).read_text()), name)


def test_recorded_parameters_are_current(makers: dict[str, Callable[[], Any]]) -> None:
    """Encoders' bytes differ between releases; what images record does not."""
    stored = json.loads((GOLDEN / "images.json").read_text())
    assert [image["recorded"] for image in makers["images.json"]()] == [
        image["recorded"] for image in stored
    ]
    for image in stored:
        found = params_from_image(decode_image(base64.b64decode(image["file"])))
        assert dataclasses.asdict(found) == image["recorded"]["params"]


def test_images_are_current(makers: dict[str, Callable[[], Any]]) -> None:
    found, stored = makers["clips.json"](), json.loads((GOLDEN / "clips.json").read_text())
    assert [(clip["name"], clip["request"]) for clip in found] == [
        (clip["name"], clip["request"]) for clip in stored
    ]
    for clip, before in zip(found, stored, strict=True):
        assert _psnr_db(_pixels(clip["pixels"]), _pixels(before["pixels"])) > MIN_PSNR_DB


def test_conversions_are_current(makers: dict[str, Callable[[], Any]]) -> None:
    found, stored = (
        makers["conversions.json"](),
        json.loads((GOLDEN / "conversions.json").read_text()),
    )
    for case, before in zip(found, stored, strict=True):
        pixels, kept = (_pixels(each.pop("pixels")).astype(int) for each in (case, before))
        assert np.abs(pixels - kept).max() <= 1, case["name"]
        assert case == before


def test_no_file_is_forgotten(makers: dict[str, Callable[[], Any]]) -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(makers)


def test_presets_of_the_page_are_current() -> None:
    assert PRESETS_FILE.read_text() == presets_text()


def _check_equal(found: Any, stored: Any, where: str) -> None:
    """Compare JSON: floats within the tolerance, all else exactly."""
    if isinstance(stored, dict):
        assert list(found) == list(stored), where
        for key in stored:
            _check_equal(found[key], stored[key], f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for index, (item, before) in enumerate(zip(found, stored, strict=True)):
            _check_equal(item, before, f"{where}[{index}]")
    elif isinstance(stored, float):
        assert found == pytest.approx(stored, rel=TOLERANCE, abs=TOLERANCE), where
    else:
        assert found == stored, where


def _pixels(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def _psnr_db(found: np.ndarray[Any, Any], stored: np.ndarray[Any, Any]) -> float:
    error = float(np.square(found.astype(float) - stored).mean())
    return np.inf if error == 0 else 10 * float(np.log10(255**2 / error))
