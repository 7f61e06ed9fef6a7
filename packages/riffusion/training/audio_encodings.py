"""Encodings of a data set's audio: from its metadata, from a file, or from a CLAP model."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from riffusion.checkpoint.files import read_json
from riffusion.datasets.circular_shifts import CircularlyShiftedLatents
from riffusion.datasets.examples import DROPOUT_STREAM, DerivedExamples, Example, ImageExamples, Key
from riffusion.datasets.folder import METADATA_NAME, DatasetFolder, DatasetRow, Split
from riffusion.datasets.tensor_files import write_tensors
from riffusion.errors import InputError, MediaError
from riffusion.io.files import check_readable
from riffusion.io.images import read_image
from riffusion.training.config import EncoderConfig
from riffusion.training.networks.audio_encoder import encoder_input

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 2**34
_CLAP_WIDTH = 512
"""Width of CLAP embeddings if the model's configuration doesn't name it: transformers' default."""


def load_encodings(
    folder: DatasetFolder, split: Split, config: EncoderConfig, cache: Path
) -> torch.Tensor:
    """Encodings of a split's rows, or the input images of an encoder that is trained.

    Args:
        folder: the data set.
        split: the split to read.
        config: source of the encodings.
        cache: folder for encodings that take long to compute.

    Returns:
        (rows, tokens, width), or (rows, 1, height, width) with `config.network`; float32.

    Raises:
        InputError: a row has no encoding, or encodings differ in shape or are not finite.
        CheckpointError: the CLAP model can't be read.
        MediaError: an image can't be read.
    """
    rows = folder.rows(split)
    if config.network is not None:
        return torch.stack([_encoder_input(folder.image_path(split, row)) for row in rows])
    if config.column is not None:
        return _stacked([_from_column(row, config.column) for row in rows], rows, "encoder.column")
    if config.file is not None:
        check_readable(config.file, _MAX_FILE_BYTES, "safetensors")
        try:
            found = load_file(config.file)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"encoder.file={str(config.file)!r} is not safetensors ({error}); write it with "
                "safetensors.torch.save_file"
            ) from error
        encodings = [_from_file(found, f"{split}/{row.file_name}", config.file) for row in rows]
        return _stacked(encodings, rows, "encoder.file")
    assert config.clap is not None
    return _from_clap(folder, split, config.clap, cache)


def encoding_shape(folder: DatasetFolder, config: EncoderConfig) -> tuple[int, int]:
    """(tokens, width) of the encodings from a column, a file or a CLAP model.

    Raises:
        InputError, CheckpointError: as `load_encodings`.
    """
    if config.clap is not None:
        clap_fingerprint(config.clap)
        width = read_json(config.clap / "config.json").get("projection_dim", _CLAP_WIDTH)
        return 1, int(width)
    _, tokens, width = load_encodings(folder, "train", config, Path()).shape
    return tokens, width


class EncodedExamples(DerivedExamples):
    """Images or latents with their encodings, some of which are dropped.

    Args:
        examples: the images or latents; `encoding` and `kept` are added to them.
        encodings: one encoding per row.
        dropout: share of draws without an encoding.
        seed: together with the number of the draw, it determines the dropout.
    """

    def __init__(
        self,
        examples: ImageExamples | CircularlyShiftedLatents,
        encodings: torch.Tensor,
        dropout: float,
        seed: int,
    ) -> None:
        self.examples, self.encodings = examples, encodings
        self.dropout, self.seed = dropout, seed

    def __getitem__(self, key: Key) -> Example:
        row, draw = key
        rng = np.random.default_rng((self.seed, draw, DROPOUT_STREAM))
        is_kept = rng.random() >= self.dropout
        example = self.examples[key]
        example["encoding"] = self.encodings[row]
        example["kept"] = torch.tensor(float(is_kept))
        return example


def _encoder_input(path: Path) -> torch.Tensor:
    try:
        return encoder_input(read_image(path))
    except InputError as error:
        raise MediaError(f"image={str(path)!r} cannot be read: {error}") from error


def _from_column(row: DatasetRow, column: str) -> torch.Tensor:
    value: Any = row.extras.get(column)
    try:
        encoding = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        encoding = torch.empty(())
    if encoding.ndim == 0:
        raise InputError(
            f"encoder.column={column!r} of {row.file_name!r} is {repr(value)[:40]}; a list of "
            "numbers is required in every row"
        )
    return encoding


def _from_file(found: dict[str, torch.Tensor], name: str, path: Path) -> torch.Tensor:
    if name not in found:
        raise InputError(
            f"encoder.file={str(path)!r} has no tensor {name!r} among its {len(found)}; every "
            "image needs one"
        )
    return found[name].float()


def _stacked(encodings: list[torch.Tensor], rows: list[DatasetRow], where: str) -> torch.Tensor:
    """Stack encodings that are all (width,) or all (tokens, width) to (rows, tokens, width)."""
    first = encodings[0] if encodings else torch.empty(1, 1)
    for encoding, row in zip(encodings, rows, strict=True):
        if encoding.shape != first.shape or encoding.ndim not in (1, 2) or not encoding.numel():
            raise InputError(
                f"{where}: {row.file_name!r} has an encoding of shape {tuple(encoding.shape)}, the "
                f"first one has {tuple(first.shape)}; all must have the same shape, (width,) or "
                "(tokens, width), and not be empty"
            )
        if not encoding.isfinite().all():
            raise InputError(
                f"{where}: the encoding of {row.file_name!r} is not finite; compute it again"
            )
    stacked = torch.stack(encodings) if encodings else first[:0]
    return stacked[:, None] if stacked.ndim == 2 else stacked


def _from_clap(folder: DatasetFolder, split: Split, clap: Path, cache: Path) -> torch.Tensor:
    """CLAP embeddings scaled to unit mean square, (rows, 1, width); cached on disk."""
    rows = folder.rows(split)
    digest = hashlib.sha256((folder.directory / split / METADATA_NAME).read_bytes())
    digest.update(json.dumps([str(folder.directory.resolve()), clap_fingerprint(clap)]).encode())
    path = cache / f"encodings-{split}-{digest.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        from riffusion.evaluation.images import read_plane
        from riffusion.evaluation.metrics.clap import ClapEmbedder

        embedder = ClapEmbedder(clap, folder.params)
        logger.info("computing CLAP embeddings of %d clips of %s", len(rows), split)
        planes = [read_plane(folder.image_path(split, row), folder.params) for row in rows]
        found = torch.from_numpy(embedder.embed(planes)).float()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors({"encodings": found * found.shape[-1] ** 0.5}, path, "cache")
    encodings: torch.Tensor = load_file(path)["encodings"][:, None]
    return encodings


def clap_fingerprint(clap: Path) -> str:
    """SHA-256 of a CLAP model's weights, which identifies it independently of its path.

    Raises:
        InputError: the folder has no weights in safetensors format.
    """
    path = clap / "model.safetensors"
    if not path.is_file():
        raise InputError(
            f"encoder.clap={str(clap)!r} has no model.safetensors; name a folder with a CLAP model "
            "in Hugging Face's format"
        )
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
