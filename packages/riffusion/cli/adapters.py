"""LoRAs and embeddings on the command line: `--lora FILE[:weight]` and `--embedding FILE`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.generation.generator import ClipGenerator
    from riffusion.generation.pipelines import EngineName


@dataclass(frozen=True)
class LoraFile:
    """A LoRA, and how much it counts.

    Args:
        path: its file or folder.
        weight: 1 is the strength that it was trained for.
    """

    path: Path
    weight: float

    @property
    def lora_id(self) -> str:
        """Its id in requests."""
        return str(self.path)

    def request_field(self) -> dict[str, Any]:
        """An entry of the request's field `loras`."""
        return {"id": self.lora_id, "weight": self.weight}


def lora_file_from(text: str) -> LoraFile:
    """Parse `FILE` or `FILE:weight`. A path that exists is one, whatever is in its name.

    Raises:
        InputError: the file doesn't exist, or its weight is not a finite number.
    """
    path, colon, number = text.rpartition(":")
    if Path(text).exists() or not colon:
        path, number = text, "1"
    try:
        weight = float(number)
    except ValueError:
        path, weight = text, 1.0  # such as C:\file
        if Path(text.rpartition(":")[0]).exists():
            raise InputError(f"{number!r} in {text!r} must be a number", "lora") from None
    if not math.isfinite(weight):
        raise InputError(f"{number!r} in {text!r} must be a finite number", "lora")
    if not Path(path).exists():
        raise InputError(f"{path!r} does not exist; name a LoRA's file or folder", "lora")
    return LoraFile(Path(path), weight)


def checked_adapters(
    loras: Sequence[str], embeddings: Sequence[Path], engine: EngineName | None
) -> list[LoraFile]:
    """Parse and read them, before a checkpoint is loaded.

    Args:
        loras, embeddings: as on the command line.
        engine: the engine that is asked for, if any.

    Raises:
        InputError: the engine can't add them, a file isn't there, or it holds no LoRA or embedding
            of Stable Diffusion 1.x.
    """
    if loras or embeddings:
        from riffusion.generation.pipelines import check_weights_can_change

        check_weights_can_change(engine, "lora" if loras else "embedding")
    files = [lora_file_from(text) for text in loras]
    if files or embeddings:
        from riffusion.checkpoint.embeddings import read_embedding
        from riffusion.checkpoint.lora import read_lora_tensors

        for file in files:
            try:
                read_lora_tensors(file.path)
            except InputError as error:
                raise InputError(str(error), "lora") from error
        for path in embeddings:
            read_embedding(path)
    return files


def add_embeddings(generator: ClipGenerator, paths: Sequence[Path]) -> None:
    """Make new words available to a generator's requests, and print them.

    Raises:
        InputError: one doesn't fit the checkpoint.
    """
    if not paths:
        return
    pipeline = generator.pipeline
    from riffusion.checkpoint.embeddings import add_embedding, read_embedding

    for path in paths:
        new = read_embedding(path)
        add_embedding(new, pipeline.tokenizer, pipeline.text_encoder)
        print(f"new word    {new.word}")


def add_loras(generator: ClipGenerator, files: Sequence[LoraFile]) -> None:
    """Make LoRAs available to a generator's requests, in place of others, and print them.

    Raises:
        InputError: one doesn't fit the checkpoint.
    """
    if not files:
        return
    pipeline = generator.pipeline
    from riffusion.diffusion.loras import LoraLibrary

    pipeline.loras = LoraLibrary({file.lora_id: file.path for file in files})
    pipeline.loras.check(pipeline.adaptable_networks)
    for file in files:
        print(f"lora        {file.path} ({file.weight:g})")
