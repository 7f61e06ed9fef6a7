"""Completes the Truss bundle of an installed package, which has no checkout around it."""

import shutil
from pathlib import Path

from riffusion.checkpoint.source import find_checkpoint
from riffusion.errors import ServerError
from riffusion.io.bundle import DISTRIBUTION, installed_bundle

_PARTS = ("config.yaml", "requirements.txt", "model/model.py", "data/seed_images", "data/masks")
"""Parts of the bundle, besides the checkpoint, which may come from elsewhere."""


def complete_bundle(bundle_dir: Path, directory: Path, checkpoint: str | None = None) -> Path:
    """The directory of a bundle with `packages/`, from which Truss can build an image context.

    Args:
        bundle_dir: a bundle. Only that of an installed package lacks `packages/`; any other is
            returned as it is.
        directory: an existing directory, in which the completed copy is made.
        checkpoint: folder, file or hub id that the server will load; None for the default one.

    Raises:
        ServerError: a part of the installed bundle was deleted.
        CheckpointError: there is no checkpoint.
    """
    if bundle_dir != installed_bundle():
        return bundle_dir
    if missing := [part for part in _PARTS if not (bundle_dir / part).exists()]:
        raise ServerError(
            f"bundle={bundle_dir} has no {missing[0]}, and the server needs all of it; "
            f"install {DISTRIBUTION} again"
        )
    find_checkpoint(checkpoint)
    without_cache = shutil.ignore_patterns("__pycache__")
    completed = shutil.copytree(bundle_dir, directory / "bundle", ignore=without_cache)
    package = bundle_dir.parent

    def ignored(folder: str, names: list[str]) -> set[str]:
        own = {bundle_dir.name} if Path(folder) == package else set()
        return {*without_cache(folder, names), *own}

    shutil.copytree(package, completed / "packages" / package.name, ignore=ignored)
    return completed
