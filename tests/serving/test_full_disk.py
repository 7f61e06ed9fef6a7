"""A server whose disk has no room: 503 for edits, which need some, and no path in the answer."""

import errno
from pathlib import Path

import pytest

from riffusion.audio.sample_file import SampleFile
from riffusion.errors import GenerationError, InputError, StorageError, StorageFullError
from riffusion.serving.model.storage import has_no_room, storage_failure


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/secret/folder")


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        full(),
        OSError(errno.EDQUOT, "quota"),
        StorageError("the recording doesn't fit into /secret/folder"),
        caused_by(GenerationError("the model failed"), full()),
    ],
)
def test_a_disk_without_room_is_found(error: Exception) -> None:
    assert has_no_room(error)
    failure = storage_failure(error)
    assert "secret" not in str(failure)
    assert failure.retry_after_s > 0


@pytest.mark.parametrize(
    "error",
    [
        InputError("too long"),
        OSError(errno.ENOENT, "no such file"),
        caused_by(GenerationError("x"), ValueError("y")),
    ],
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not has_no_room(error)


def test_a_file_for_samples_that_has_no_room_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise full()

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StorageError, match="doesn't fit into the folder") as caught:
        SampleFile()
    assert has_no_room(caught.value)
    assert not isinstance(caught.value, StorageFullError)
