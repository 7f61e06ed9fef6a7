"""The web page's inversion is compared with numbers that Python still gives."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from scripts.write_inversion_golden import GOLDEN, golden

MIN_PSNR_DB = 85.0
"""Samples are rounded to 16 bits; processors may round Fourier transforms differently."""
RELATIVE = 0.01
"""Tolerance of the errors of mel amplitudes after many iterations, which amplify rounding."""
WEIGHT_TOLERANCE = 1e-6
LEVEL_TOLERANCE = 1e-6
"""In dB and LU."""

_REMEDY = "if the change is intended, run python -m scripts.write_inversion_golden"


@pytest.fixture(scope="module")
def current() -> dict[str, Any]:
    return golden()


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return content


def test_clips_are_what_python_gives(current: dict[str, Any], kept: dict[str, Any]) -> None:
    for now, then in zip(current["clips"], kept["clips"], strict=True):
        assert _without(now, "convergence", "kept") == _without(then, "convergence", "kept"), (
            _REMEDY
        )
        assert now["convergence"] == pytest.approx(then["convergence"], rel=RELATIVE), _REMEDY
        if then["kept"] is not None:
            assert _psnr_db(now["kept"], then["kept"]) > MIN_PSNR_DB, (now["name"], _REMEDY)


def test_sizes_are_what_python_gives(current: dict[str, Any], kept: dict[str, Any]) -> None:
    assert current["rates"] == kept["rates"], _REMEDY


def test_filterbanks_are_what_python_gives(current: dict[str, Any], kept: dict[str, Any]) -> None:
    for now, then in zip(current["filterbanks"], kept["filterbanks"], strict=True):
        assert now["params"] == then["params"], _REMEDY
        for name in ("bands", "reduced"):
            assert now[name]["rows"] == then[name]["rows"], _REMEDY
            ours, theirs = (_values(matrix[name]["weights"], "<f4") for matrix in (now, then))
            np.testing.assert_allclose(ours, theirs, atol=WEIGHT_TOLERANCE, err_msg=_REMEDY)


def test_loudness_is_what_python_gives(current: dict[str, Any], kept: dict[str, Any]) -> None:
    for now, then in zip(current["loudness"], kept["loudness"], strict=True):
        levels = ("lufs", "true_peak_db")
        assert _without(now, *levels, "kept") == _without(then, *levels, "kept"), _REMEDY
        for name in levels:
            assert now[name] == pytest.approx(then[name], abs=LEVEL_TOLERANCE), _REMEDY
        assert _psnr_db(now["kept"], then["kept"]) > MIN_PSNR_DB, (now["name"], _REMEDY)


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _values(text: str, dtype: str) -> npt.NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), dtype).astype(np.float64)


def _psnr_db(now: dict[str, Any], then: dict[str, Any]) -> float:
    assert now["step"] == then["step"], _REMEDY
    ours, theirs = (_values(kept["samples"], "<i2") * kept["peak"] / 32767 for kept in (now, then))
    error = float(np.mean((ours - theirs) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(np.abs(theirs).max() ** 2 / error)
