"""Find the option or argument that an error is about."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from riffusion.errors import InputError

if TYPE_CHECKING:
    from typer._click.core import Command

SYNONYMS = {
    "num_inference_steps": "steps",
    "seed_image_id": "seed_image",
    "mask_image_id": "mask_image",
    "loras": "lora",
    "duration_s": "duration",
    "tempo_bpm": "tempo",
    "from_tempo_bpm": "from_tempo",
    "from": "from_",
    "slice": "slice_",
    "num_frames": "width",
    "from_s": "from_",
    "to_s": "to",
    "prompts_at": "prompt_at",
    "end_prompt": "prompt_b",
    "num_clips": "steps",
    "after_s": "after",
    "before_s": "before",
}
"""Parameter names of commands for fields that have a different name."""

_NAME = re.compile(
    r"""'[^']*'|"[^"]*"|`[^`]*`|(?<![\w./-])(?P<name>[a-z]+(?:_[a-z0-9]+)+|[a-z]+(?==))(?![\w./-])"""
)
"""A quotation, or the name of a parameter: with an underscore, or followed by `=`."""


def message_by_option(error: InputError, command: "Command") -> str:
    """The error's message, with the command's options in place of fields and parameters.

    Args:
        error: names a field (`start.seed`) or parameters (`step_size_ms=0`). The latter stay as
            they are if `error.names_arguments` is False: then they aren't what the caller passed.
        command: the command that raised it.
    """
    options = {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.name is not None
    }
    field, message = "", str(error)
    if error.field is not None:
        option = _option(error.field, options)
        if option is not None:
            field, message = option, message.removeprefix(error.field)
    if error.names_arguments:
        message = message_by_option_names(message, options)
    return field + message


def message_by_option_names(message: str, options: Mapping[str, str]) -> str:
    """The message with options in place of the names of parameters: `tempo_bpm`, `width=0`.

    Args:
        message: texts in quotation marks, such as paths, stay as they are.
        options: the command's option by the name of its parameter.
    """

    def option(match: re.Match[str]) -> str:
        name = match["name"]
        return match[0] if name is None else _option(name, options) or name

    return _NAME.sub(option, message)


def _option(field: str, options: Mapping[str, str]) -> str | None:
    """The option for a request's field.

    For `end.seed` that is --end-seed if the command has it, else --seed, else an option or
    argument called `end`.
    """
    parts = field.split(".")
    for name in ("_".join(parts), parts[-1], parts[0]):
        option = options.get(name) or options.get(SYNONYMS.get(name, name))
        if option is not None:
            return option
    return None
