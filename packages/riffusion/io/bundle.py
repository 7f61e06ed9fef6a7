"""The folders in which the bundle's `data/` folder is searched."""

from pathlib import Path


def bundle_roots() -> list[Path]:
    """Folders that may contain `data/`, in search order.

    The working directory is first, because Truss starts its server in a copy of the bundle. In a
    checkout, this package is in the bundle's `packages/` folder.
    """
    return [Path.cwd(), Path(__file__).resolve().parents[3]]
