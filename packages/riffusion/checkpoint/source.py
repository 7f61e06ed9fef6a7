"""Where a checkpoint comes from: parsing paths and hub ids, and the search order."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from riffusion.errors import CheckpointError
from riffusion.io.bundle import DISTRIBUTION, bundle_roots

DEFAULT_HUB_ID = "riffusion/riffusion-model-v1"
"""The published checkpoint on the Hugging Face hub, for `--checkpoint`."""
ENVIRONMENT_VARIABLE: Final = "RIFFUSION_CHECKPOINT"
TRUSS_MOUNT = Path("/models/riffusion")
"""Where Truss mounts the weights that `config.yaml` names (`mount_location`)."""
EMBEDDED = Path("data/demo-checkpoint")
"""The checkpoint inside the bundle, relative to the bundle's root."""
SINGLE_FILE_SUFFIXES = (".safetensors", ".ckpt")

Kind = Literal["folder", "file", "hub"]
Origin = Literal["argument", "RIFFUSION_CHECKPOINT", "Truss weights mount", "embedded"]

_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class CheckpointSource:
    """Where a checkpoint comes from; nothing is read yet.

    Args:
        kind: a diffusers `folder`, a single `file` in the original layout, or a `hub` id.
        location: path of the folder or file, or `owner/name` on the hub.
        revision: commit, tag or branch on the hub; None is its default branch.
        origin: which setting named it.
    """

    kind: Kind
    location: str
    revision: str | None = None
    origin: Origin = "argument"

    def __str__(self) -> str:
        name = f"{self.location}@{self.revision}" if self.revision else self.location
        return f"{name} ({self.origin})"

    @classmethod
    def parse(cls, text: str, origin: Origin = "argument") -> CheckpointSource:
        """Parse a path or a hub id (`owner/name` or `owner/name@revision`).

        An existing path takes precedence over a hub id of the same spelling.

        Raises:
            CheckpointError: the text is neither an existing path nor a hub id.
        """
        name = origin if origin != "argument" else "checkpoint"
        path = Path(text).expanduser()
        if text and path.is_dir():
            return cls("folder", str(path), origin=origin)
        if text and path.is_file():
            if path.suffix not in SINGLE_FILE_SUFFIXES:
                raise CheckpointError(
                    f"{name}={text} must end in {' or '.join(SINGLE_FILE_SUFFIXES)}, or be a "
                    "diffusers folder or a hub id; is it a file from inside such a folder, a LoRA "
                    "or a textual inversion?"
                )
            return cls("file", str(path), origin=origin)
        match = _HUB_ID.fullmatch(text)
        if match is None or path.suffix in SINGLE_FILE_SUFFIXES:
            raise CheckpointError(
                f"{name}={text!r} does not exist; give a diffusers folder, a "
                f"{' or '.join(SINGLE_FILE_SUFFIXES)} file, or a hub id like {DEFAULT_HUB_ID}"
            )
        return cls("hub", match["id"], match["revision"], origin)


def find_checkpoint(explicit: str | os.PathLike[str] | None = None) -> CheckpointSource:
    """The checkpoint to use: the argument, else `RIFFUSION_CHECKPOINT`, else the Truss weights
    mount if it exists, else the embedded one.

    Args:
        explicit: path of a folder or file, or a hub id; None to search the other places.

    Raises:
        CheckpointError: the named checkpoint doesn't exist, or none is named and none embedded.
    """
    if explicit is not None:
        return CheckpointSource.parse(os.fspath(explicit))
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return CheckpointSource.parse(from_environment, ENVIRONMENT_VARIABLE)
    if TRUSS_MOUNT.is_dir():
        return CheckpointSource("folder", str(TRUSS_MOUNT), origin="Truss weights mount")
    for root in bundle_roots():
        if (root / EMBEDDED).is_dir():
            return CheckpointSource("folder", str(root / EMBEDDED), origin="embedded")
    raise CheckpointError(
        f"no checkpoint: {EMBEDDED} is in none of {', '.join(map(str, bundle_roots()))}; "
        f"install {DISTRIBUTION} again, or name one by --checkpoint or {ENVIRONMENT_VARIABLE}, "
        f"for example {DEFAULT_HUB_ID}"
    )
