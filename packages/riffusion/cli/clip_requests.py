"""Options of a command to a request and its media."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.cli import options
from riffusion.errors import InputError
from riffusion.generation.media import Media

if TYPE_CHECKING:
    from PIL import Image
    from pydub import AudioSegment

    from riffusion.datatypes import InferenceInput

CHECKPOINT_SCHEDULER = "checkpoint"
"""Value of --scheduler that stands for the checkpoint's own scheduler."""


@dataclass(frozen=True)
class InitOptions:
    """The options that name the image or audio that a clip starts from, and its mask.

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
        """The request's fields `mode`, `seed_image_id` and `mask_image_id`.

        Raises:
            InputError: options that exclude each other, or a mask without an image.
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
        fields = {"mode": "img2img"}
        if self.seed_image is not None and not _is_file(self.seed_image):
            fields["seed_image_id"] = self.seed_image
        if self.mask_image is not None and not _is_file(self.mask_image):
            fields["mask_image_id"] = self.mask_image
        return fields

    def media(self) -> Media:
        """The decoded files, which take the place of the request's fields.

        Raises:
            InputError: a file can't be used.
        """
        init_image = mask_image = init_audio = None
        if self.init_audio is not None:
            init_audio = _read_audio(self.init_audio)
        elif self.init_image is not None:
            init_image = _read_image(self.init_image, "init_image")
        elif self.seed_image is not None and _is_file(self.seed_image):
            init_image = _read_image(Path(self.seed_image), "seed_image")
        if self.mask_image is not None and _is_file(self.mask_image):
            mask_image = _read_image(Path(self.mask_image), "mask_image")
        return Media(init_image, init_audio, mask_image)


def build_request(values: Mapping[str, Any]) -> "InferenceInput":
    """Validate a request.

    Raises:
        InputError: a field is invalid; the message names it.
    """
    from riffusion.datatypes import InferenceInput

    return InferenceInput.parse(dict(values))


def strength_field(denoising: float | None) -> dict[str, float]:
    """The request's fields for --denoising; without it, the request's own default applies."""
    return {} if denoising is None else {"denoising": denoising}


def check_ids(
    request: "InferenceInput", checkpoint: str | None, media: Media | None = None
) -> None:
    """Look up the ids of seed image and mask before the checkpoint is loaded.

    A checkpoint on the hub can contain images that are unknown before it is downloaded, so nothing
    is checked then.

    Args:
        request: the request.
        checkpoint: folder, file or hub id; None for the default checkpoint.
        media: decoded media that take the place of the request's fields.

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
    if media is None or (media.init_image is None and media.init_audio is None):
        library.seed_image(request.seed_image_id)
    if request.mask_image_id is not None:
        library.mask_image(request.mask_image_id)


def check_weights(request: "InferenceInput") -> None:
    """Check the weights in a request's prompts before the checkpoint is loaded.

    Raises:
        InputError: a weight is out of range; `field` names the request's field.
    """
    from riffusion.generation.generator import check_prompts

    check_prompts(request)


def draw_seed() -> int:
    """A random seed, short enough to type again."""
    return secrets.randbelow(2**31)


def scheduler_field(name: str) -> str | None:
    """The value of the request's field `scheduler` for --scheduler."""
    return None if name == CHECKPOINT_SCHEDULER else name


def _is_file(value: str) -> bool:
    """Whether an option names a file: file names have an extension, ids have none."""
    return bool(Path(value).suffix)


def _read_image(path: Path, option: str) -> "Image.Image":
    from riffusion.io.images import MAX_HEIGHT, MAX_WIDTH, read_image

    try:
        return read_image(path, MAX_WIDTH, MAX_HEIGHT)
    except InputError as error:
        raise InputError(str(error), field=option) from error


def _read_audio(path: Path) -> "AudioSegment":
    from riffusion.audio import read_audio
    from riffusion.datatypes import MAX_DURATION_S

    try:  # a request's limit for bytes doesn't apply to a local file
        return read_audio(path, max_duration_s=MAX_DURATION_S)
    except InputError as error:
        raise InputError(str(error), field="init_audio") from error
