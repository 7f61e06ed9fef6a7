"""`manifest.json`: what an exported checkpoint's folder holds. Needs no torch.

The folder has one graph per part (ONNX), which refers to weights in safetensors files below the
same folder, and the files of a checkpoint that runtimes read: tokenizer, scheduler, spectrogram
parameters. The manifest names them all, with sizes and hashes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from riffusion.errors import CheckpointError

FORMAT = 1
"""Version of the manifest; it changes when older programs would misread the folder."""
MANIFEST_NAME = "manifest.json"
PARTS = ("text_encoder", "unet", "vae_encoder", "vae_decoder")
MAX_HASHED_BYTES = 200_000_000
"""Bytes whose content is compared each time that a folder is loaded, the smallest files first."""
_MAX_TOKENS, _MAX_WIDTH, _MAX_PIXELS = 10_000, 100_000, 512
"""Far beyond any checkpoint, so that a damaged number doesn't ask for all memory."""
_AGAIN = (
    "export the checkpoint again with `riffusion export` (--beside for graphs in the checkpoint's "
    "own folder), or copy the whole folder again"
)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name in ("", "."):
        raise ValueError("paths must be below the folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
"""Path relative to the folder, with `/`."""


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class ExportedFile(_Values):
    """Size and SHA-256 of a file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ExportedPart(_Values):
    """One part.

    Args:
        graph: its ONNX file.
        weights: the files that the graph refers to.
        precision: type of its weights; in `int8` and `w8a16` most activations are integers, too.
        difference: largest absolute difference between onnxruntime's outputs and torch's with the
            same weights, on random inputs of several sizes; of several outputs, that of the one
            which is nearest to its tolerance.
        tolerance: most that `difference` may be.
        rounding: the same with the checkpoint's own weights, where exporting rounded them; else
            None.
        image_psnr_db: for these two, the least PSNR of images of the same seed when this part was
            quantised, after those before it.
        left_out: for these two, what isn't quantised of what could be, see
            `riffusion.exporting.quantised_parts`.

    Where activations are integers, `difference` is that of its graph before it was quantised.
    """

    graph: FileName
    weights: tuple[FileName, ...]
    precision: str
    difference: float = Field(ge=0)
    tolerance: float = Field(ge=0)
    rounding: float | None = Field(default=None, ge=0)
    image_psnr_db: float | None = None
    left_out: str | None = None


class ExportedShape(_Values):
    """What is fixed about the tensors.

    Args:
        tokens: tokens of a chunk of a prompt, with its start and end.
        start_token, end_token, padding_token: their ids.
        text_width: width of an embedding.
        latent_channels: channels of latents.
        pixels_per_latent: in each direction.
        size_multiple: pixels that an image's height and width must be padded to a multiple of.
        guidance_width: width of the UNet's `timestep_cond`; None for one that takes none.
    """

    tokens: int = Field(ge=3, le=_MAX_TOKENS)
    start_token: int = Field(ge=0)
    end_token: int = Field(ge=0)
    padding_token: int = Field(ge=0)
    text_width: int = Field(ge=1, le=_MAX_WIDTH)
    latent_channels: int = Field(ge=1, le=_MAX_WIDTH)
    pixels_per_latent: int = Field(ge=1, le=_MAX_PIXELS)
    size_multiple: int = Field(ge=1, le=_MAX_PIXELS)
    guidance_width: int | None = Field(default=None, ge=4, le=_MAX_WIDTH)

    @model_validator(mode="after")
    def _are_whole_latents(self) -> ExportedShape:
        if self.size_multiple % self.pixels_per_latent:
            raise ValueError(
                f"size_multiple={self.size_multiple} must be a multiple of "
                f"pixels_per_latent={self.pixels_per_latent}"
            )
        return self


class Manifest(_Values):
    """Content of `manifest.json`.

    Args:
        format: see `FORMAT`.
        source: what was exported: a name, or a hub id with its commit.
        precision: what was asked for: `fp32`, `fp16`, `w8`, `int8` or `w8a16`; each part says its
            own.
        opset: version of ONNX's operators.
        versions: versions of the programs that made the folder, by name.
        shape: what is fixed about the tensors.
        parts: by name, see `PARTS`.
        files: size and hash of each file, by path.
        other_files: files that runtimes read beside graphs and weights.
        image_psnr_db: least PSNR of images of the same seed to those of the checkpoint's own
            weights; None where that was not measured.
    """

    format: int
    source: str
    precision: str
    opset: int
    versions: dict[str, str]
    shape: ExportedShape
    parts: dict[str, ExportedPart]
    files: dict[FileName, ExportedFile]
    other_files: tuple[FileName, ...]
    image_psnr_db: float | None = None

    @model_validator(mode="after")
    def _names_each_file(self) -> Manifest:
        if missing := [name for name in PARTS if name not in self.parts]:
            raise ValueError(f"there is no part {missing[0]}")
        for name in (*self.network_files, *self.other_files):
            if name not in self.files:
                raise ValueError(f"{name} has no size and hash")
        return self

    @property
    def network_files(self) -> tuple[str, ...]:
        """Graphs and weights, sorted."""
        parts = self.parts.values()
        return tuple(sorted({name for part in parts for name in (part.graph, *part.weights)}))

    @property
    def network_bytes(self) -> int:
        """Size of graphs and weights together."""
        return sum(self.files[name].bytes for name in self.network_files)

    def to_json(self) -> bytes:
        """Content of the file."""
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2)
        return f"{text}\n".encode()

    def graph_path(self, folder: Path, part: str) -> Path:
        """Path of a part's graph."""
        return folder / self.parts[part].graph


def is_exported(folder: Path) -> bool:
    """Whether a folder has a manifest."""
    return (folder / MANIFEST_NAME).is_file()


def read_manifest(folder: Path, *, hashes: bool | None = True) -> Manifest:
    """Read a folder's manifest, and check that the files that it names are there and whole.

    Args:
        folder: an exported checkpoint.
        hashes: compare contents, too, not only sizes; None does so for the smallest files, up to
            `MAX_HASHED_BYTES` together, which takes 0.1 s if they are in memory.

    Raises:
        CheckpointError: the manifest is missing, damaged or of a newer format, or a file is
            missing, of another size, or of other content. Tokenizer, scheduler and spectrogram
            parameters count, too: with others of them, a seed would silently be another clip.
    """
    path = folder / MANIFEST_NAME
    manifest = _parsed(path)
    left = MAX_HASHED_BYTES
    for name, file in sorted(manifest.files.items(), key=lambda entry: entry[1].bytes):
        left -= file.bytes
        _check(folder / name, file, hashes=left >= 0 if hashes is None else hashes)
    return manifest


def describe_file(path: Path) -> ExportedFile:
    """Size and hash of a file."""
    return ExportedFile(bytes=path.stat().st_size, sha256=_sha256(path))


def _parsed(path: Path) -> Manifest:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing, so this is no exported checkpoint; make one by "
            "`riffusion export CHECKPOINT -o FOLDER`"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}); {_AGAIN}") from error
    try:
        found = json.loads(content)
        version = found.get("format") if isinstance(found, dict) else None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); {_AGAIN}") from error
    if type(version) is int and version > FORMAT:
        raise CheckpointError(
            f"{path} has format={version}, newer than {FORMAT}, the newest that this version "
            "reads; update riffusion-truss, or export the checkpoint again"
        )
    if version != FORMAT:
        raise CheckpointError(f"{path} has format={version!r}, not {FORMAT}; {_AGAIN}")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {_first_problem(error)}; {_AGAIN}") from error


def _first_problem(error: ValidationError) -> str:
    problem: Any = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"])
    what = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _check(path: Path, file: ExportedFile, *, hashes: bool) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; {_AGAIN}")
    size = path.stat().st_size
    if size != file.bytes:
        raise CheckpointError(f"{path} has {size} bytes, not {file.bytes}; {_AGAIN}")
    if hashes and _sha256(path) != file.sha256:
        raise CheckpointError(f"{path} is not the file that was exported (SHA-256); {_AGAIN}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
