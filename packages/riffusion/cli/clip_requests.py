"""From options to a request."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.cli import options
from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.datatypes import InferenceInput

CHECKPOINT_SCHEDULER = "checkpoint"
"""Value of --scheduler for the checkpoint's own."""


@dataclass(frozen=True)
class InitOptions:
    """What a clip is painted over, as options have it.

    Args:
        seed_image: id of a seed image, or an image file.
        init_image: an image file.
        init_audio: an audio file.
        mask_image: id of a mask, or an image file.
    """

    seed_image: options.SeedImage = None
    init_image: options.InitImage = None
    init_audio: options.InitAudio = None
    mask_image: options.MaskImage = None

    def fields(self) -> dict[str, Any]:
        """The request's fields for it. Files are read and decoded, so that bad ones show up early.

        Raises:
            InputError: options that exclude each other, or a file that can't be used.
        """
        given = [
            option
            for option, value in (
                ("--seed-image", self.seed_image),
                ("--init-image", self.init_image),
                ("--init-audio", self.init_audio),
            )
            if value is not None
        ]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} exclude each other; give one of them")
        if not given:
            if self.mask_image is not None:
                raise InputError(
                    "keeps the black parts of an image, so it needs one: add --seed-image, "
                    "--init-image or --init-audio",
                    field="mask_image",
                )
            return {"mode": "txt2img"}
        fields: dict[str, Any] = {"mode": "img2img"}
        if self.init_audio is not None:
            fields["init_audio"] = _audio_url(self.init_audio)
        elif self.init_image is not None:
            fields["init_image"] = _image_url(self.init_image, "init_image")
        elif self.seed_image is not None:
            fields |= _library_or_file("seed_image", "init_image", self.seed_image)
        if self.mask_image is not None:
            fields |= _library_or_file("mask_image", "mask_image", self.mask_image)
        return fields


def build_request(values: Mapping[str, Any]) -> "InferenceInput":
    """Validate a request.

    Raises:
        InputError: it names the request's field.
    """
    from riffusion.datatypes import InferenceInput

    return InferenceInput.parse(dict(values))


def strength_field(denoising: float | None) -> dict[str, float]:
    """The request's fields for --denoising; it has a default of its own."""
    return {} if denoising is None else {"denoising": denoising}


def check_ids(request: "InferenceInput", checkpoint: str | None) -> None:
    """Look up the ids of seed image and mask, before the checkpoint is loaded where possible.

    A checkpoint on the hub may bring images of its own, which are known once it is fetched.

    Raises:
        InputError: an unknown id, or its image is damaged.
        CheckpointError: no such checkpoint.
    """
    from riffusion.checkpoint.source import find_checkpoint
    from riffusion.generation.seed_library import SeedLibrary

    if request.mode == "txt2img":
        return
    source = find_checkpoint(checkpoint)
    if source.kind == "hub":
        return
    path = Path(source.location)
    library = SeedLibrary.default(path if source.kind == "folder" else path.parent)
    if request.init_image is None and request.init_audio is None:
        library.seed_image(request.seed_image_id)
    if request.mask_image_id is not None:
        library.mask_image(request.mask_image_id)


def draw_seed() -> int:
    """A seed that is short enough to be typed again."""
    return secrets.randbelow(2**31)


def scheduler_field(name: str) -> str | None:
    """The request's field for --scheduler."""
    return None if name == CHECKPOINT_SCHEDULER else name


def _library_or_file(option: str, file_field: str, value: str) -> dict[str, str]:
    """Ids have no extension and files have one."""
    path = Path(value)
    if not path.suffix:
        return {f"{option}_id": value}
    return {file_field: _image_url(path, option)}


def _image_url(path: Path, option: str) -> str:
    from riffusion.io.data_urls import data_url
    from riffusion.io.images import MAX_HEIGHT, MAX_WIDTH, encode_image, read_image

    try:
        image = read_image(path, MAX_WIDTH, MAX_HEIGHT)
    except InputError as error:
        raise InputError(str(error), field=option) from error
    if image.format in ("PNG", "JPEG", "WEBP"):
        return data_url(path.read_bytes(), f"image/{image.format.lower()}")
    return data_url(encode_image(image, "png"), "image/png")


def _audio_url(path: Path) -> str:
    from riffusion.audio import read_audio
    from riffusion.datatypes import MAX_DURATION_S, MAX_MEDIA_CHARACTERS
    from riffusion.io.data_urls import data_url

    try:
        read_audio(path, max_duration_s=MAX_DURATION_S, max_bytes=MAX_MEDIA_CHARACTERS // 4 * 3)
    except InputError as error:
        raise InputError(str(error), field="init_audio") from error
    return data_url(path.read_bytes(), "application/octet-stream")
