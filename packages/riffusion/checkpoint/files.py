"""The files of a diffusers checkpoint: which ones loading needs, and how to read them safely.

PyTorch is imported when weights are read.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.checkpoint.kinds import adapter_in_folder
from riffusion.errors import CheckpointError
from riffusion.spectrogram import params as spectrogram_params

if TYPE_CHECKING:
    import torch

INDEX_NAME = "model_index.json"
MAX_SHARD_SIZE = "15MB"
"""Largest weights file to write; small enough for a Git repository."""
SCHEDULER_NAME = "scheduler/scheduler_config.json"
WEIGHT_STEMS = {
    "vae": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "unet": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "text_encoder": ("model", "pytorch_model"),
}
"""File names of the weights in each subfolder, without suffix: (safetensors, pickle)."""
INTEGERS_SUFFIX = ".w8.safetensors"
"""Ending of weights that `riffusion export` stored as integers."""
QUANTISED_SUFFIXES = {"int8": ".int8.safetensors", "w8a16": ".w8a16.safetensors"}
"""The same where activations are integers, too, by precision; such a file belongs to one graph."""
TOKENIZER_NAMES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
DISTILLATION_NAME = "distillation.json"
SEED_IMAGE_FOLDER = "seed_images/"

_LFS_POINTER = b"version https://git-lfs"
_SHOWN_NAMES = 3


def needed_files(names: Iterable[str], *, prefer_half: bool, where: str) -> list[str]:
    """The files that loading reads, from all files of a folder or a hub repository.

    It skips copies of the same weights in other formats, the safety checker and traced models.

    Args:
        names: paths relative to the checkpoint, with `/`.
        prefer_half: take weights published in half precision over the full ones.
        where: name of the checkpoint in error messages.

    Raises:
        CheckpointError: a component has no configuration or no complete weights.
    """
    present = set(names)
    required = [INDEX_NAME, SCHEDULER_NAME, *(f"{part}/config.json" for part in WEIGHT_STEMS)]
    missing = [name for name in required if name not in present]
    tokenizer = [f"tokenizer/{name}" for name in TOKENIZER_NAMES if f"tokenizer/{name}" in present]
    pair = {"tokenizer/vocab.json", "tokenizer/merges.txt"}
    if "tokenizer/tokenizer.json" not in tokenizer and not pair <= set(tokenizer):
        missing.append("tokenizer/vocab.json with merges.txt")
    if missing:
        if adapter := adapter_in_folder(present):
            raise CheckpointError(f"{where} {adapter}")
        raise CheckpointError(
            f"{where} lacks {abridged(missing)}; a Stable Diffusion 1.x checkpoint has them, "
            "download it again or name another"
        )
    chosen = [*required, *tokenizer]
    for part in WEIGHT_STEMS:
        chosen += weight_files(present, part, prefer_half=prefer_half, where=where)
    optional = (spectrogram_params.FILE_NAME, DISTILLATION_NAME)
    chosen += [name for name in optional if name in present]
    chosen += sorted(name for name in present if name.startswith(SEED_IMAGE_FOLDER))
    return chosen


def weight_files(
    names: Iterable[str], part: str, *, prefer_half: bool = False, where: str
) -> list[str]:
    """The weights file of one component, or all its shards.

    Safetensors are preferred over pickles. The index file beside shards isn't read: the shards'
    names already hold their number and count.

    Args:
        names: paths relative to the checkpoint.
        part: `vae`, `unet`, `text_encoder`, or another network in a subfolder.
        prefer_half: prefer a `fp16` variant; otherwise it is the last choice.
        where: name of the checkpoint in error messages.

    Raises:
        CheckpointError: there are no weights, or a shard is missing.
    """
    present = set(names)
    incomplete: list[str] = []
    variants = (".fp16", "") if prefer_half else ("", ".fp16")
    stems = WEIGHT_STEMS.get(part, WEIGHT_STEMS["unet"])
    formats = zip(stems, ("safetensors", "bin"), strict=True)
    for (stem, suffix), variant in itertools.product(formats, variants):
        start = f"{part}/{stem}{variant}"
        if f"{start}.{suffix}" in present:
            return [f"{start}.{suffix}"]
        shard = re.compile(rf"{re.escape(start)}-\d{{5}}-of-(\d{{5}})\.{suffix}")
        for count in sorted({match[1] for match in map(shard.fullmatch, present) if match}):
            wanted = [
                f"{start}-{number:05}-of-{count}.{suffix}" for number in range(1, int(count) + 1)
            ]
            missing = [name for name in wanted if name not in present]
            if not missing:
                return wanted
            incomplete += missing
    if incomplete:
        raise CheckpointError(
            f"{where} lacks the shards {abridged(incomplete)}; download the checkpoint again"
        )
    endings = (INTEGERS_SUFFIX, *QUANTISED_SUFFIXES.values())
    if any(name.startswith(f"{part}/") and name.endswith(endings) for name in present):
        raise CheckpointError(
            f"{where} has weights as integers, which only its graphs can use; name the checkpoint "
            "that it was exported from"
        )
    raise CheckpointError(
        f"{where} has no weights in {part}/, such as {stems[0]}.safetensors; "
        "download the checkpoint again"
    )


def is_weights(name: str, part: str) -> bool:
    """Whether a path, relative to the checkpoint, is a weights file of a component."""
    return name.startswith(f"{part}/") and name.endswith((".safetensors", ".bin"))


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object of a configuration file, with or without a byte-order mark.

    Raises:
        CheckpointError: the file is missing, broken, or isn't a JSON object.
    """
    try:
        values = json.loads(path.read_bytes())  # recognises UTF-8, UTF-16 and UTF-32
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; download the checkpoint again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read as JSON ({first_line(error)}); download the checkpoint again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object; download the checkpoint again")
    return values


def read_weights(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Read tensors by name, memory-mapped if the format allows it.

    Pickles are read with `weights_only=True`: code in them is refused, not run.

    Args:
        paths: one file, or all its shards.

    Raises:
        CheckpointError: a file is missing, truncated, foreign, or holds more than tensors.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        tensors |= _read_file(path)
    return tensors


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); download it again"
        ) from error
    if start == _LFS_POINTER:
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in its repository"
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        import safetensors.torch

        return dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, "a safetensors file", error) from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    content = read_pickle(path)
    if isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]  # wrapped by a training framework
    return {
        str(name): tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)
    }


def read_pickle(path: Path) -> dict[Any, Any]:
    """Read a PyTorch file with `weights_only=True`, which refuses code.

    Raises:
        CheckpointError: it is damaged, or holds no dictionary, or more than tensors and numbers.
    """
    try:
        content = _load_pickle(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) was refused: it is damaged, or a pickle that "
            "holds more than tensors and could run code; use the .safetensors version"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, "a PyTorch file", error) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold tensors by name; use another checkpoint")
    return content


def _load_pickle(path: Path) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other pickle protocols; harmless here
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        # Files of torch before 1.6 aren't zip archives and can't be mapped.
        return torch.load(path, map_location="cpu", weights_only=True)


def _unreadable(path: Path, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} ({path.stat().st_size} bytes) is truncated or not {what} "
        f"({first_line(error)}); download it again"
    )


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters, for one-line messages."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def abridged(names: Iterable[str]) -> str:
    """The first three names, and the number of the others."""
    listed = list(names)
    shown = ", ".join(listed[:_SHOWN_NAMES])
    more = len(listed) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
