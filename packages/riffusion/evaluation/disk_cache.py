"""A folder that remembers arrays that take long to compute, such as what is heard in a real clip.

Each entry is a file, named by a hash of everything that the arrays depend on: the clip, the code
and the versions of the libraries. The file has a hash of its content, then the content, a NumPy
archive: NumPy alone doesn't notice every damage. The folder may be deleted at any time.
"""

import functools
import hashlib
import importlib.metadata
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

import riffusion
from riffusion.errors import RiffusionError
from riffusion.io.files import write_file
from riffusion.io.folders import user_cache_dir

logger = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[np.floating]]

_CODE = (
    "audio",
    "spectrogram",
    "evaluation/audio.py",
    "evaluation/images.py",
    "evaluation/metrics/harmonicity.py",
    "evaluation/metrics/hearing.py",
    "evaluation/tagger",
)
"""Folders and modules of the package that decide what is heard in an image."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_DISTRIBUTIONS = ("numpy", "scipy", "torch", "torchaudio", "librosa", "musicnn")


def default_cache_dir() -> Path | None:
    """The folder in the user's cache folder; None if the user has no home folder."""
    cache = user_cache_dir()
    return None if cache is None else cache / "heard"


class DiskCache:
    """Arrays on disk that are computed once. Threads and processes may share a folder.

    If the folder can't be written to, a warning says so once, and nothing is remembered.

    Args:
        directory: created when the first entry is written; None remembers nothing.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self.num_computed = 0

    def get(self, key: str | None, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, computed by `make` unless they are on disk.

        Args:
            key: names the arrays, together with the code and versions; None is never on disk.
            make: computes them.
        """
        directory = self._directory  # read once: another thread may give it up at any time
        path = None if key is None or directory is None else directory / _name(key)
        if path is not None and (found := _read(path)) is not None:
            return found
        made = make()
        with self._lock:
            self.num_computed += 1
        if path is not None:
            self._write(path, made)
        return made

    def _write(self, path: Path, arrays: Arrays) -> None:
        file = io.BytesIO()
        np.savez(file, **cast("dict[str, Any]", arrays))
        content = file.getvalue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(hashlib.sha256(content).digest() + content, path)
        except (OSError, RiffusionError) as error:
            with self._lock:
                if self._directory is not None:
                    logger.warning(
                        "cache=%r cannot be written (%s); nothing is remembered",
                        str(self._directory),
                        error,
                    )
                self._directory = None


def _read(path: Path) -> Arrays | None:
    """The arrays of a file, or None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def _name(key: str) -> str:
    return hashlib.sha256(f"{_fingerprint()} {key}".encode()).hexdigest()[:32]


@functools.cache
def _fingerprint() -> str:
    """A hash of the code and the versions that entries depend on."""
    package, total = Path(riffusion.__file__).parent, hashlib.sha256()
    for name in _CODE:
        place = package / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            total.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    for name in _DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
        total.update(f"{name} {version}\n".encode())
    return total.hexdigest()
