"""Loads librosa, whose functions numba compiles and keeps in files: one process at a time.

If two processes fill numba's folder at once, it mixes up the files of generalized universal
functions, and whichever process reads them crashes (numba's issue 10128). So librosa's are kept in
a folder of their own, and processes take turns there.
"""

import functools
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from riffusion.errors import InputError
from riffusion.io.folders import user_cache_dir
from riffusion.io.locks import in_turn

_COMPILED_WHEN_IMPORTED = ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch")
"""Modules with generalized universal functions that the project uses, directly or not."""
_COMPILED_FOR_BEATS = ("librosa.beat",)
"""Those that only beat tracking uses; nobody else waits for them."""


@functools.cache
def load_librosa() -> ModuleType:
    """librosa, with its functions compiled. Takes half a minute where no process has done it yet.

    Raises:
        InputError: librosa isn't installed.
    """
    check_librosa()
    _import_in_turn(_COMPILED_WHEN_IMPORTED)
    return importlib.import_module("librosa")


@functools.cache
def load_librosa_beat() -> ModuleType:
    """The beat tracking of librosa, with its functions compiled; otherwise as `load_librosa`."""
    load_librosa()
    _import_in_turn(_COMPILED_FOR_BEATS)
    return importlib.import_module("librosa.beat")


def _import_in_turn(names: Sequence[str]) -> None:
    directory = _numba_cache_dir()
    os.environ["NUMBA_CACHE_DIR"] = str(directory)  # numba reads it when it is imported
    with in_turn(directory):
        for name in names:
            importlib.import_module(name)


def check_librosa() -> None:
    """Check that pitches can be tracked.

    Raises:
        InputError: librosa isn't installed.
    """
    if importlib.util.find_spec("librosa") is None:
        raise InputError(
            "harmonicity is measured with librosa, which isn't installed; install it "
            "(pip install 'riffusion-truss[listening]'), or leave `listening` out of --parts"
        )


def _numba_cache_dir() -> Path:
    """The user's choice, else a folder in the user's cache folder, else a temporary one."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    cache = user_cache_dir()
    for directory in [Path(chosen)] if chosen else [cache / "numba"] if cache else []:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if os.access(directory, os.W_OK):
                return directory
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="riffusion-numba-"))
