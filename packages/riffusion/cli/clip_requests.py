"""From options to a request, with errors that name the option."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.errors import InputError

if TYPE_CHECKING:
    from riffusion.datatypes import InferenceInput

_OPTIONS = {
    "prompt": "prompt",
    "seed": "--seed",
    "negative_prompt": "--negative-prompt",
    "denoising": "--denoising",
    "guidance": "--guidance",
    "num_inference_steps": "--steps",
    "seed_image_id": "--seed-image",
    "mask_image_id": "--mask-image",
    "mask_image": "--mask-image",
    "init_image": "--init-image",
    "init_audio": "--init-audio",
    "duration_s": "--duration",
    "scheduler": "--scheduler",
}
"""Which option a field of the request comes from."""

CHECKPOINT_SCHEDULER = "checkpoint"
"""Value of --scheduler for the checkpoint's own."""


@dataclass(frozen=True)
class InitOptions:
    """What a clip is painted over, as options have it.

    Args:
        seed_image: id of a seed image, or a picture file.
        init_image: a picture file.
        init_audio: an audio file.
        mask_image: id of a mask, or a picture file.
    """

    seed_image: str | None = None
    init_image: Path | None = None
    init_audio: Path | None = None
    mask_image: str | None = None

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
                    "keeps the black parts of a picture, so it needs one: add --seed-image, "
                    "--init-image or --init-audio",
                    field="--mask-image",
                )
            return {"mode": "txt2img"}
        fields: dict[str, Any] = {"mode": "img2img"}
        if self.init_audio is not None:
            fields["init_audio"] = _audio_url(self.init_audio)
        elif self.init_image is not None:
            fields["init_image"] = _image_url(self.init_image, "--init-image")
        elif self.seed_image is not None:
            fields |= _library_or_file("seed_image_id", "init_image", self.seed_image)
        if self.mask_image is not None:
            fields |= _library_or_file("mask_image_id", "mask_image", self.mask_image)
        return fields


def build_request(values: Mapping[str, Any]) -> "InferenceInput":
    """Validate a request.

    Raises:
        InputError: it names the option.
    """
    from riffusion.datatypes import InferenceInput

    try:
        return InferenceInput.parse(dict(values))
    except InputError as error:
        raise error_by_option(error) from None


def error_by_option(error: InputError) -> InputError:
    """The error with the option in place of the request's field."""
    field, _, message = str(error).partition(": ")
    option = _OPTIONS.get(field.rpartition(".")[2])
    if option is None or not message:
        return error
    return InputError(message, field=_end_option(field, option))


def draw_seed() -> int:
    """A seed that is short enough to be typed again."""
    return secrets.randbelow(2**31)


def scheduler_field(name: str) -> str | None:
    """The request's field for --scheduler."""
    return None if name == CHECKPOINT_SCHEDULER else name


def _end_option(field: str, option: str) -> str:
    """`--end-seed` of `end.seed`; only seeds and prompts differ between the ends."""
    if field == "end.seed":
        return "--end-seed"
    return "end prompt" if field == "end.prompt" else option


def _library_or_file(id_field: str, file_field: str, value: str) -> dict[str, str]:
    """Ids have no extension and files have one."""
    path = Path(value)
    if not path.suffix:
        return {id_field: value}
    return {file_field: _image_url(path, _OPTIONS[id_field])}


def _image_url(path: Path, option: str) -> str:
    from riffusion.data_urls import data_url
    from riffusion.image_codec import MAX_HEIGHT, MAX_WIDTH, encode_image, read_image

    try:
        image = read_image(path, MAX_WIDTH, MAX_HEIGHT)
    except InputError as error:
        raise InputError(str(error), field=option) from error
    if image.format in ("PNG", "JPEG", "WEBP"):
        return data_url(path.read_bytes(), f"image/{image.format.lower()}")
    return data_url(encode_image(image, "png"), "image/png")


def _audio_url(path: Path) -> str:
    from riffusion.audio import read_audio
    from riffusion.data_urls import data_url
    from riffusion.datatypes import MAX_DURATION_S, MAX_MEDIA_CHARACTERS

    try:
        read_audio(path, max_duration_s=MAX_DURATION_S, max_bytes=MAX_MEDIA_CHARACTERS // 4 * 3)
    except InputError as error:
        raise InputError(str(error), field="--init-audio") from error
    return data_url(path.read_bytes(), "application/octet-stream")
