"""Licences of all dependencies: listed on the page, and each one allowed, or judged by name."""

import platform
import sys

import pytest

from scripts import list_licences
from scripts.list_licences import (
    PAGE,
    is_allowed,
    libraries_inside,
    licence_of,
    npm_packages,
    pinned,
)

EVERYTHING = pinned("requirements-dev.txt", "requirements-tagger.txt", "requirements-ray.txt")


def test_every_package_s_licence_is_allowed() -> None:
    assert len(EVERYTHING) > 200
    licences = {name: licence_of(name) for name in EVERYTHING}
    refused = {name: text for name, text in licences.items() if not is_allowed(name, text)}
    assert refused == {}


def test_every_licence_of_the_web_app_s_packages_is_allowed() -> None:
    used = npm_packages(is_dev=False)
    assert "three" in used
    licences = used | npm_packages(is_dev=True)
    assert {name: text for name, text in licences.items() if not is_allowed(name, text)} == {}


def test_the_page_is_what_the_script_writes() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("docs/licences.md lists what is inside the wheels for Linux on x86-64")
    written = PAGE.read_text(encoding="utf-8")
    assert list_licences.page() == written, "run python scripts/list_licences.py"


@pytest.mark.parametrize(
    "expression",
    ["GPL-3.0-only", "MIT AND GPL-2.0-only", "LicenseRef-Other", "AGPL-3.0-only OR LGPL-2.1-only"],
)
def test_other_licences_are_refused(expression: str) -> None:
    assert not is_allowed("some-package", expression)
    assert is_allowed("av", expression)  # judged by name


@pytest.mark.parametrize("expression", ["MIT", "GPL-3.0-only OR (MIT AND ISC)", "MPL-2.0 AND MIT"])
def test_one_allowed_choice_is_enough(expression: str) -> None:
    assert is_allowed("some-package", expression)


def test_nvidia_s_licence_is_allowed_for_nvidia_only() -> None:
    assert is_allowed("nvidia-cublas-cu12", list_licences.NVIDIA)
    assert not is_allowed("some-package", list_licences.NVIDIA)


def test_an_unknown_package_or_licence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match="no-such-package is not installed"):
        licence_of("no-such-package")
    monkeypatch.setattr(list_licences, "_NAMES", {})
    with pytest.raises(LookupError, match="jinja2 names no licence"):
        licence_of("jinja2")


def test_the_libraries_in_a_wheel_are_found() -> None:
    """scikit-learn's wheels for Linux bring GCC's OpenMP; pydub is pure Python."""
    assert libraries_inside("pydub") == {}
    if sys.platform == "linux":
        assert set(libraries_inside("scikit-learn")) == {"libgomp"}
