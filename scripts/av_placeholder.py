"""A placeholder for PyAV: all its modules and names can be imported, but nothing works.

`riffusion train` and the benchmarks of a GPU import modules that import PyAV, whose wheel has 40
MB, and neither read nor write audio files. scripts/bare_machine.sh installs this file as `av`.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Name(type):
    """Names inside names are classes, too."""

    def __getattr__(cls, name: str) -> Any:
        return _class(name)


def _class(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(f"av.{name} is used, but PyAV is not installed; install the package av")

    # Exceptions, as some names stand in `except`.
    return _Name(name, (Exception,), {"__init__": refuse})


class _Modules(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        is_ours = fullname.startswith(f"{__name__}.")
        return ModuleSpec(fullname, self, is_package=True) if is_ours else None

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = _class  # type: ignore[method-assign]


__path__: list[str] = []
__getattr__ = _class
sys.meta_path.append(_Modules())
