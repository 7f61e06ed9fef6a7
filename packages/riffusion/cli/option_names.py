"""Find the option or argument that an error is about."""

import re
from typing import TYPE_CHECKING

from riffusion.errors import InputError, SpectrogramParamsError

if TYPE_CHECKING:
    from typer._click.core import Command

_SYNONYMS = {
    "num_inference_steps": "steps",
    "seed_image_id": "seed_image",
    "mask_image_id": "mask_image",
    "duration_s": "duration",
    "tempo_bpm": "tempo",
    "num_frames": "width",
}
"""Parameter names of commands for fields that have a different name."""


def message_by_option(error: InputError, command: "Command") -> str:
    """The error's message, with the command's option name in place of the field's.

    Args:
        error: names a field (`start.seed`) or spectrogram parameters (`step_size_ms=0`).
        command: the command that raised it.
    """
    options = {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.name is not None
    }
    message = str(error)
    if error.field is not None:
        option = _option(error.field, options)
        return message if option is None else option + message.removeprefix(error.field)
    if isinstance(error, SpectrogramParamsError):
        return re.sub(r"\b[a-z_]+(?==)", lambda name: options.get(name[0], name[0]), message)
    return message


def _option(field: str, options: dict[str, str]) -> str | None:
    """The option for a request's field.

    For `end.seed` that is --end-seed if the command has it, else --seed, else an option or
    argument called `end`.
    """
    parts = field.split(".")
    for name in ("_".join(parts), parts[-1], parts[0]):
        option = options.get(name) or options.get(_SYNONYMS.get(name, name))
        if option is not None:
            return option
    return None
