"""One torch thread a test process: the models are tiny, and the machine may be shared.

For the same reason no test has a time limit, but for the one that ends it when it hangs.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.needs import pytest_terminal_summary

if TYPE_CHECKING:
    from tests.checkpoint.checkpoints import TinyModel

__all__ = ["pytest_terminal_summary"]  # a hook

# A shell that starts pytest in the background has Ctrl-C ignored, here and in the servers and
# commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

ONE_PROCESS = ("tests/serving", "tests/evaluation", "tests/training/distillation", "tests/soak")
"""Folders whose tests share what takes long to make: a server, a report of an evaluation, a trained
student. The soak mostly waits, for minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, which `make test-fast` leaves out, and run their files first.

    xdist gives whole files to its workers, in this order, so none is left alone with a slow file
    at the end. The largest parts, the folders of `ONE_PROCESS`, come before all.
    """
    from tests.slow_tests import is_slow

    slow = [item for item in items if is_slow(item)]
    for item in slow:
        item.add_marker("slow")
    slow_files = {item.path for item in slow}
    items.sort(  # a stable sort
        key=lambda item: (_folder(item.nodeid) not in ONE_PROCESS, item.path not in slow_files)
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each folder of `ONE_PROCESS` to one of xdist's processes, and other files one by one."""
    from xdist.scheduler import LoadFileScheduling

    class LoadFolderOrFile(LoadFileScheduling):  # type: ignore[misc] # xdist is not typed
        def _split_scope(self, nodeid: str) -> str:
            folder = _folder(nodeid)
            return folder if folder in ONE_PROCESS else nodeid.partition("::")[0]

    return LoadFolderOrFile(config, log) if config.getvalue("dist") == "loadfile" else None


def _folder(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[0]


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
