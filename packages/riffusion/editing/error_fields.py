"""Errors about a recording name the request's field that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager

from riffusion.errors import InputError


@contextmanager
def about(field: str, instead_of: str | None = None) -> Iterator[None]:
    """Let errors name a field.

    Args:
        field: the request's field.
        instead_of: the name that a command has for it. Errors that name it, or none, are about
            `field`; others pass unchanged.
    """
    try:
        yield
    except InputError as error:
        if error.field not in (None, instead_of):
            raise
        raise type(error)(str(error).removeprefix(f"{error.field}: "), field) from error
