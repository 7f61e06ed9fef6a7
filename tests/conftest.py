"""One torch thread a test process: the models are tiny, and the machine may be shared.

For the same reason no test has a time limit, but for the one that ends it when it hangs.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.checkpoint.checkpoints import TinyModel

# A shell that starts pytest in the background has Ctrl-C ignored, here and in the servers and
# commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, which `make test-fast` leaves out, and run their files first.

    xdist gives whole files to its workers, in this order, so none is left alone with a slow file
    at the end.
    """
    from tests.slow_tests import is_slow

    slow = [item for item in items if is_slow(item)]
    for item in slow:
        item.add_marker("slow")
    slow_files = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in slow_files)  # a stable sort


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many tests were left out and why, also to the file LEFT_OUT if that is set."""
    from tests.needs import left_out_lines

    if hasattr(config, "workerinput"):  # one of xdist's processes, which has only some reports
        return
    lines = left_out_lines(terminalreporter.stats.get("skipped", []))
    for line in lines:
        terminalreporter.write_line(line)
    if lines and (path := os.environ.get("LEFT_OUT")):
        with Path(path).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.fixture(scope="session")
def model() -> TinyModel:
    from tests.checkpoint.checkpoints import tiny_model

    return tiny_model()


@pytest.fixture(scope="session")
def pristine(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoint.checkpoints import write_folder

    return write_folder(model, tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def pristine_old(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoint.checkpoints import write_old_folder

    return write_old_folder(model, tmp_path_factory.mktemp("pristine") / "old")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A checkpoint of today's format that a test may damage."""
    return shutil.copytree(pristine, tmp_path / "checkpoint")


@pytest.fixture
def old_folder(pristine_old: Path, tmp_path: Path) -> Path:
    """A checkpoint of the old format that a test may damage."""
    return shutil.copytree(pristine_old, tmp_path / "checkpoint")
