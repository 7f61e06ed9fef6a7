"""Where the bundle's `data/` directory is."""

from pathlib import Path


def bundle_roots() -> list[Path]:
    """Directories that may hold `data/`, in the order in which they are searched.

    Truss starts its server in the bundle's copy, so the working directory comes first; in a
    checkout, this package is in the bundle's `packages/`.
    """
    return [Path.cwd(), Path(__file__).resolve().parents[3]]
