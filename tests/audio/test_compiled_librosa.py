"""librosa is compiled by one process at a time, in a folder of its own."""

import fcntl
import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from riffusion.audio import compiled_librosa
from riffusion.audio.compiled_librosa import (
    check_librosa,
    load_librosa,
    load_librosa_beat,
)
from riffusion.errors import InputError


def is_locked(directory: Path) -> bool:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, bool]]:
    """What is imported: the module, numba's folder, and whether that is locked meanwhile."""
    seen = []

    def import_module(name: str) -> ModuleType:
        directory = Path(os.environ["NUMBA_CACHE_DIR"])
        seen.append((name, directory, is_locked(directory)))
        return ModuleType(name)

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(importlib, "import_module", import_module)
    return seen


def load() -> ModuleType:
    return load_librosa.__wrapped__()


def test_what_numba_compiles_is_imported_in_turn(
    imported: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load().__name__ == "librosa"
    folder = tmp_path / "riffusion/numba"
    compiled = compiled_librosa._COMPILED_WHEN_IMPORTED
    assert imported == [*((name, folder, True) for name in compiled), ("librosa", folder, False)]
    assert not is_locked(folder)


def test_what_only_beat_tracking_needs_is_compiled_for_it_alone(
    imported: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled_librosa, "load_librosa", load)
    assert load_librosa_beat.__wrapped__().__name__ == "librosa.beat"
    folder = tmp_path / "riffusion/numba"
    assert imported[-2:] == [("librosa.beat", folder, True), ("librosa.beat", folder, False)]
    assert "librosa.beat" not in compiled_librosa._COMPILED_WHEN_IMPORTED


def test_the_users_own_folder_is_used(
    imported: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    load()
    assert {directory for _, directory, _ in imported} == {tmp_path / "chosen"}


def test_without_a_folder_that_can_be_written_there_is_a_temporary_one(
    imported: list[tuple[str, Path, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    load()
    assert {directory.parent for _, directory, _ in imported} == {tmp_path / "temporary"}


def test_every_module_that_defines_such_functions_and_is_loaded_was_imported_in_turn() -> None:
    """All of numba's universal functions in what pYIN and mel spectrograms load."""
    librosa = load_librosa()
    librosa.pyin(np.zeros(4096, np.float32), fmin=65, fmax=2093, sr=22050)
    librosa.feature.melspectrogram(y=np.zeros(4096, np.float32))
    assert "librosa.util.utils" in with_functions()
    assert with_functions() - set(compiled_librosa._COMPILED_FOR_BEATS) <= set(
        compiled_librosa._COMPILED_WHEN_IMPORTED
    )


def test_so_was_every_module_that_beat_tracking_loads() -> None:
    beat = load_librosa_beat()
    beat.beat_track(y=np.sin(np.arange(88200, dtype=np.float32)), sr=22050)
    known = {*compiled_librosa._COMPILED_WHEN_IMPORTED, *compiled_librosa._COMPILED_FOR_BEATS}
    assert "librosa.beat" in with_functions()
    assert with_functions() <= known


def with_functions() -> set[str]:
    """librosa's modules that are loaded and define universal functions of numba."""
    return {
        name
        for name, module in sys.modules.items()
        if name.startswith("librosa")
        and any(
            type(value).__name__ in ("GUFunc", "DUFunc", "_DUFunc")
            and getattr(value, "__module__", name) == name
            for value in vars(module).values()
        )
    }


def test_missing_librosa_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"librosa, which isn't installed.*\[listening\]"):
        check_librosa()
