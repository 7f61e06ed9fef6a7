"""The architecture page is true, and the folders import downwards only."""

import subprocess
import sys
from pathlib import Path

from scripts.list_modules import PAGE, page_with_list

ROOT = Path(__file__).parents[2]


def test_folders_import_downwards_only() -> None:
    """The contracts are in pyproject.toml."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_module_is_listed_with_what_it_holds() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_list(page) == page, "run: python scripts/list_modules.py"
