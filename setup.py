"""Adds the Truss bundle to wheels and source distributions; all else is in pyproject.toml.

The repository's root is a Truss bundle, so `data/` and `model/` are beside the package, not in it.
A wheel has a copy of them in `riffusion/bundle/`, where `riffusion.io.bundle` finds it. An editable
install needs no copy: it uses the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLE = ("config.yaml", "requirements.txt", "data", "model")
"""Files and folders of the bundle, except `packages/`, which is the package itself."""


class BuildWithBundle(build_py):
    """Builds the package with the bundle's files in it."""

    def run(self) -> None:
        """Build it anew, since setuptools keeps files that were removed since the last build."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib, "riffusion")
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        for file in _bundle_files():
            target = package / "bundle" / file
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))

    def get_source_files(self) -> list[str]:
        """The files that a source distribution needs."""
        return [*super().get_source_files(), *map(str, _bundle_files())]


def _bundle_files() -> list[Path]:
    """The bundle's files, relative to the repository's root, in which setuptools runs."""
    files = [file for name in BUNDLE for file in (Path(name), *sorted(Path(name).rglob("*")))]
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


setup(cmdclass={"build_py": BuildWithBundle})
