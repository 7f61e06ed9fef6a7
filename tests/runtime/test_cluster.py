"""What workers of a cluster send back; tests/ray_cluster has the tests on one."""

import pickle
from typing import Any

import pytest

from riffusion.errors import InputError, RiffusionError
from riffusion.runtime.cluster import _pickled


class _UnsentError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("it holds an open file")


class _UnreadError(Exception):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number} {text}")


@pytest.mark.parametrize("error", [_UnsentError("3 rows"), _UnreadError(3, "rows")])
def test_an_exception_that_cannot_be_sent_is_sent_as_text(error: Exception) -> None:
    found = pickle.loads(_pickled(error))
    assert type(found) is RiffusionError
    assert str(found) == f"{type(error).__name__}: 3 rows"


def test_other_exceptions_keep_their_type() -> None:
    assert type(pickle.loads(_pickled(InputError("no sound")))) is InputError
