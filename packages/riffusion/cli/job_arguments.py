"""A job of `riffusion batch` as the arguments of its command, and the name of its output.

{"prompt": "church bells", "seed": 42}  →  generate --seed=42 -- "church bells"
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion.cli.option_names import SYNONYMS
from riffusion.errors import InputError
from riffusion.io.files import short_name

if TYPE_CHECKING:
    from typer._click.core import Command, Parameter

DEFAULT_EXTENSION = "mp3"
_NUM_SEEDS = 1 << 31
_MAX_FILES = 10_000
"""Most clips of a job; the commands refuse more."""
_INTO_FOLDERS = ("stems",)
"""Commands that write several files into a folder of their own."""


def parameters_by_name(command: "Command") -> dict[str, "Parameter"]:
    """A command's arguments and options by the names that a job has for them."""
    found = {}
    for parameter in command.params:
        if parameter.name is not None and parameter.name != "help":
            found[_job_name(parameter)] = parameter
    return found


def arguments_of(command: "Command", values: Mapping[str, Any]) -> list[str]:
    """The arguments of a command for a job's values.

    Args:
        command: the command.
        values: by the names of arguments and options, or those of requests' fields. Lists stand for
            options that are given several times; mappings for texts such as `drums=+6dB`, or for
            options of two values.

    Raises:
        InputError: the command has no such argument or option, or a value has another type.
    """
    parameters = parameters_by_name(command)
    options: list[str] = []
    positional: dict[str, list[str]] = {}
    for name, value in values.items():
        known = name if name in parameters else SYNONYMS.get(name, name).rstrip("_")
        if name == "num_inference_steps" and "solver_steps" in parameters:
            known = "solver_steps"  # `steps` of `between` are clips
        if known not in parameters:
            raise InputError(
                f"{name!r} is no argument or option of `riffusion {command.name}`, which has "
                f"{', '.join(parameters)}"
            )
        parameter = parameters[known]
        if parameter.param_type_name == "argument":
            items = _items(value)
            if len(items) > 1 and parameter.nargs == 1:
                raise InputError(f"{name}: {value!r} must be one value")
            positional[known] = [_text(name, item) for item in items]
        else:
            options += _option(name, parameter, value)
    ordered = [text for name in parameters for text in positional.get(name, [])]
    return [*options, "--", *ordered]


def output_name(command: "Command", values: Mapping[str, Any], extension: str | None) -> Path:
    """A name for a job's output, from its texts, its recording and its seed.

    Args:
        command: the job's command.
        values: the job.
        extension: of the file; None for the recording's, or mp3 without one.
    """
    parameters = parameters_by_name(command)
    words: list[str] = []
    own_extension = None
    for name, parameter in parameters.items():
        if parameter.param_type_name == "argument" and name in values:
            for item in _items(values[name]):
                if _names_a_file(parameter):
                    words.append(Path(str(item)).stem)
                    own_extension = _writable_extension(str(item)) or own_extension
                else:
                    words.append(str(item))
    if "prompt" not in values:
        words.append(str(command.name))
    stem = re.sub(r"[^\w]+", "-", " ".join(words).lower()).strip("-_") or str(command.name)
    seed = f"-{values['seed']}" if "seed" in values and _int(values.get("count", 1)) == 1 else ""
    if command.name in _INTO_FOLDERS:
        return Path(short_name(stem, seed))
    return Path(short_name(stem, f"{seed}.{extension or own_extension or DEFAULT_EXTENSION}"))


def numbers_of_files(command: "Command", values: Mapping[str, Any]) -> range:
    """The numbers in the names of the files of a job that makes several clips, else none.

    Args:
        command: the job's command.
        values: the job, its seed included.
    """
    parameters: dict[str, Any] = parameters_by_name(command)
    if not {"count", "seed"} <= parameters.keys():
        return range(0)
    count = _int(values.get("count", parameters["count"].default))
    first = 0 if "to" in values else _int(values.get("seed", 0))
    return range(first, first + min(count, _MAX_FILES)) if count > 1 else range(0)


def needs_seed(command: "Command", values: Mapping[str, Any]) -> bool:
    """Whether a job's result depends on a seed.

    A remix draws only where it restyles a stem, and unconditional clips between two recordings
    follow from these.
    """
    draws = command.name != "remix" or "restyle" in values
    if command.name == "unconditional":
        draws = "to" not in values
    return draws and "seed" in parameters_by_name(command)


def derived_seed(values: Mapping[str, Any], occurrence: int) -> int:
    """A seed for a job that names none: the same for the same job, so that a batch can resume.

    Args:
        values: the job.
        occurrence: number of equal jobs before it in the file.
    """
    digest = hashlib.sha256(f"{job_key(values)} {occurrence}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _NUM_SEEDS


def job_key(values: Mapping[str, Any]) -> str:
    """A hash that equal jobs share and others don't."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _job_name(parameter: "Parameter") -> str:
    """A parameter's name in jobs: `from` for `--from`, whatever the function calls it."""
    if parameter.param_type_name == "argument":
        return str(parameter.name)
    return max(parameter.opts, key=len).lstrip("-").replace("-", "_")


def _names_a_file(parameter: Any) -> bool:
    return parameter.type_descriptor.annotation is Path


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _option(name: str, parameter: Any, value: Any) -> Iterator[str]:
    """One option on the command line, as often as the value says."""
    flag = max(parameter.opts, key=len)
    if getattr(parameter, "is_flag", False):
        yield from _switch(name, flag, parameter.secondary_opts, value)
        return
    items = list(value.items()) if isinstance(value, Mapping) else _items(value)
    if len(items) != 1 and not parameter.multiple:
        raise InputError(f"{name}: {value!r} must be one value")
    for item in items:
        if parameter.nargs == 2:
            pair = list(item.values()) if isinstance(item, Mapping) else item
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise InputError(f"{name}: {item!r} must be two values")
            yield from (flag, _text(name, pair[0]), _text(name, pair[1]))
        elif isinstance(item, tuple):
            yield f"{flag}={_text(name, item[0])}={_text(name, item[1])}"
        else:
            yield f"{flag}={_text(name, item)}"


def _switch(name: str, on: str, off: list[str], value: Any) -> Iterator[str]:
    """An option without a value."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    state = known.get(str(value).lower())
    if state is None:
        raise InputError(f"{name}: {value!r} must be true or false")
    if state:
        yield on
    elif off:
        yield off[0]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{name}: {value!r} must be a text or a number")
    return str(value)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 1


def _writable_extension(name: str) -> str | None:
    from riffusion.audio import format_from_path

    try:
        format_from_path(Path(name))
    except InputError:
        return None
    return Path(name).suffix.lstrip(".").lower()
