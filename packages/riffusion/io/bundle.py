"""The folders in which the bundle's `data/` folder is searched."""

from pathlib import Path

DISTRIBUTION = "riffusion-truss"
"""What to install: `riffusion` on the package index is another person's package."""
ADD_EXTRAS = f"`make setup` in a checkout, or `pip install '{DISTRIBUTION}[serve,train]'`, adds it"
"""Remedy for a missing package. pip reads the extras of the distribution that is installed already;
the package index has none of that name."""


def bundle_roots() -> list[Path]:
    """Folders that may contain `data/`, in search order.

    The working directory is first, because Truss starts its server in a copy of the bundle. In a
    checkout, this package is in the bundle's `packages/` folder. A wheel has the bundle inside the
    package, where `setup.py` puts it.
    """
    package = _package()
    roots = [Path.cwd()]
    if package.parent.name == "packages":
        roots.append(package.parents[1])
    installed = installed_bundle()
    if installed.is_dir() or len(roots) == 1:
        roots.append(installed)
    return roots


def installed_bundle() -> Path:
    """The bundle in an installed package; in a checkout there is no such folder.

    It lacks `packages/`, because that is the package around it.
    """
    return _package() / "bundle"


def _package() -> Path:
    return Path(__file__).resolve().parents[1]
