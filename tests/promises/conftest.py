"""The generator with a tiny model of the editing tests, whose clips are noise."""

from tests.editing.conftest import generator

__all__ = ["generator"]  # a fixture
