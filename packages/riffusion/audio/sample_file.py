"""Samples in an unnamed temporary file, so that memory doesn't depend on their number.

The file has the samples of one moment after the other, in the machine's byte order. It has no name
from the start (Linux) or loses it at once, so it also goes when the process is killed.
"""

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from riffusion.audio.blocks import CHANGE_BLOCK, Change
from riffusion.audio.pcm import Samples
from riffusion.errors import StorageError

_LARGE_FILES = Path("/var/tmp")
"""The folder for large temporary files (Filesystem Hierarchy Standard, section 5.15); /tmp is in
memory on many systems."""
_FOLDER_VARIABLES = ("TMPDIR", "TEMP", "TMP")


class SampleFile:
    """An unnamed temporary file. Several threads may read it at the same time.

    It is also deleted when nothing refers to this object any more.

    Raises:
        InputError: the file can't be created.
    """

    def __init__(self) -> None:
        self._folder = _temporary_folder()
        self._lock = threading.Lock()
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `close`
                buffering=0, dir=self._folder
            )
        except OSError as error:
            raise self._failure(error) from error
        self._finalizer = weakref.finalize(self, self._file.close)

    def close(self) -> None:
        """Delete the file."""
        self._finalizer()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, data: bytes | memoryview, position: int) -> None:
        """Write bytes at a position.

        Raises:
            InputError: the disk is full.
        """
        rest = memoryview(data)
        try:
            with self._lock:
                self._file.seek(position)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._failure(error) from error

    def read(self, position: int, size: int) -> bytearray:
        """Exactly `size` bytes from a position inside the file."""
        data = bytearray(size)
        rest = memoryview(data)
        with self._lock:
            self._file.seek(position)
            while rest:
                rest = rest[self._file.readinto(rest) or len(rest) :]  # type: ignore[attr-defined]
        return data

    def cut(self, size: int) -> None:
        """Keep only the first bytes."""
        self._file.truncate(size)

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(
            f"the recording doesn't fit into the folder for temporary files, {self._folder!r} "
            f"({error.strerror}); make room there, or name another folder in the environment "
            "variable TMPDIR"
        )


class FilePart:
    """A part in a file; see `blocks.Part`. It begins where the file ends when it gets samples.

    Args:
        file: the file, which only one part at a time extends.

    Attributes:
        used_bits: the bits that are set in any sample.
    """

    def __init__(self, file: SampleFile) -> None:
        self._file = file
        self._start = 0
        self._num_channels = 0
        self._num_samples = 0
        self._dtype: np.dtype[Any] | None = None
        self.used_bits = 0

    @property
    def num_channels(self) -> int:
        return self._num_channels

    @property
    def num_samples(self) -> int:
        return self._num_samples

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the samples, such as int16."""
        return self._dtype or np.dtype(np.int16)

    @property
    def _frame(self) -> int:
        """Bytes of one moment."""
        return self._num_channels * self.dtype.itemsize

    def append(self, block: npt.NDArray[Any]) -> None:
        if self._dtype is None:
            self._start, self._dtype, self._num_channels = self._file.size, block.dtype, len(block)
        self._write(block, self._start + self._num_samples * self._frame)
        self._num_samples += block.shape[1]

    def cut(self, length: int) -> None:
        self._num_samples = min(length, self._num_samples)
        self._file.cut(self._start + self._num_samples * self._frame)

    def change(self, change: Change) -> None:
        self.used_bits = 0
        position, num_channels = self._start, self._num_channels
        for start in range(0, self._num_samples, CHANGE_BLOCK):
            stop = min(start + CHANGE_BLOCK, self._num_samples)
            block = change(self.samples(start, stop))
            num_channels = len(block)
            self._write(block, position)
            position += block.nbytes
        self._num_channels = num_channels
        self._file.cut(position)

    def samples(self, start: int, stop: int) -> Samples:
        """Samples within the part, (channels, stop - start)."""
        data = self._file.read(self._start + start * self._frame, (stop - start) * self._frame)
        return np.frombuffer(data, self.dtype).reshape(-1, self._num_channels).T

    def _write(self, block: npt.NDArray[Any], position: int) -> None:
        if block.dtype == np.int32 and block.size:
            self.used_bits |= int(np.bitwise_or.reduce(block, axis=None))
        self._file.write(np.ascontiguousarray(block.T).data.cast("B"), position)


def _temporary_folder() -> str:
    """The folder that the user names in TMPDIR, or else one for large files."""
    named = any(os.environ.get(name) for name in _FOLDER_VARIABLES)
    if not named and _LARGE_FILES.is_dir() and os.access(_LARGE_FILES, os.W_OK):
        return str(_LARGE_FILES)
    return tempfile.gettempdir()
