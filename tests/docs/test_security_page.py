"""SECURITY.md says what is true: its numbers are the code's, and the tests that it names exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.splitlines()
    if "| `riffusion." in line
]
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE)))


def amount(text: str) -> float:
    """The number that a limit's text says, such as "36 MiB" or "10,000"."""
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * UNITS.get(unit, 1)


def test_the_page_has_rows_and_tests() -> None:
    assert len(ROWS) >= 25
    assert len(TESTS) >= 45
    assert PAGE.count("::test_") == len(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))


@pytest.mark.parametrize("row", ROWS, ids=[row[2].strip("`") for row in ROWS])
def test_a_limit_is_the_code_s(row: tuple[str, ...]) -> None:
    _, limit, constant, _, test = row
    module, _, name = constant.strip("`").rpartition(".")
    assert amount(limit) == getattr(importlib.import_module(module), name)
    assert test.strip("`") in TESTS


@pytest.mark.parametrize("test", TESTS)
def test_a_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in names


def test_files_and_links_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / link).exists(), link
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/serving.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for anchor in re.findall(r"serving\.md#([\w-]+)\)", PAGE):
        assert anchor in anchors
