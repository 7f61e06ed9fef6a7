"""Which tests are slow: those that use the real server, start processes, train, or emulate a GPU.

`make test-fast` leaves them out. Nobody marks them by hand: a test is slow if it, one of its
fixtures, or a function of the tests that either of them calls refers to one of `SLOW`.
"""

import functools
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

SLOW = (
    "subprocess",
    "multiprocessing",
    "nbclient",
    "riffusion.audio.decoding_pool.DecodingPool",
    "riffusion.runtime.child_process.ChildProcess",
    "riffusion.serving.local.truss_server.LocalTrussServer",
    "riffusion.training.trainer.Trainer",
    "riffusion.cli.train.distill",
    "riffusion.cli.train.train",
    "riffusion.evaluation.classifier.training.train_classifier",
    "tests.fuzz.serve_process.ServeProcess",
    "tests.evaluation.evaluate_runs.command",  # trains a classifier
    "tests.runtime.emulated_cuda",
)
"""Modules, and classes and functions, of which a mention makes a test slow. They are compared by
name, so that nothing is imported for it."""


def is_slow(item: pytest.Item) -> bool:
    """Whether a collected test is slow."""
    if not isinstance(item, pytest.Function):
        return False
    definitions = item._fixtureinfo.name2fixturedefs.values()
    fixtures = [definition.func for several in definitions for definition in several]
    return any(_is_slow_function(function) for function in (item.function, *fixtures))


@functools.cache
def _is_slow_function(function: Any) -> bool:
    """Whether a test's or fixture's function is slow; many tests share their fixtures."""
    return _reaches(function, set())


def _reaches(function: Any, seen: set[object]) -> bool:
    """Whether a function refers to one of `SLOW`, or to a test's function that does."""
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or function in seen:
        return False
    seen.add(function)
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if any(f"{_full_name(value)}.".startswith(f"{slow}.") for slow in SLOW):
            return True
        if _full_name(value).startswith("tests.") and _reaches(value, seen):
            return True
    return False


def _full_name(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _names(code: CodeType) -> Iterator[str]:
    """Global names in a function's code, those of functions inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
