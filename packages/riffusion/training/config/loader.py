"""Reads a training configuration, a YAML file, and checks it before anything else is loaded.

`task` selects the recipe. Every section refuses unknown keys and lists the known ones; `configs/`
has an example of every task.
"""

import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from riffusion.errors import InputError
from riffusion.training.config.distillation import DistillationConfig
from riffusion.training.config.former_keys import FORMER_KEYS, rename_former_keys
from riffusion.training.config.tasks import (
    AudioConditionalConfig,
    AutoencoderConfig,
    FineTuneConfig,
    TextToSpectrogramConfig,
    UnconditionalConfig,
)

TrainingConfig = (
    AutoencoderConfig
    | TextToSpectrogramConfig
    | UnconditionalConfig
    | AudioConditionalConfig
    | FineTuneConfig
    | DistillationConfig
)
_CONFIG_BY_TASK: dict[str, type[BaseModel]] = {
    get_args(config.model_fields["task"].annotation)[0]: config
    for config in get_args(TrainingConfig)
}
_ADAPTER: TypeAdapter[TrainingConfig] = TypeAdapter(
    Annotated[TrainingConfig, Field(discriminator="task")]
)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainingConfig:
    """Read and check a configuration.

    Args:
        path: the YAML file.
        overrides: `section.key=value` with YAML values, which replace values of the file.

    Raises:
        InputError: the file can't be read, or has keys or values that are not allowed; the message
            names all of them.
    """
    try:
        values = yaml.safe_load(Path(path).read_bytes())  # recognises UTF-8 and UTF-16
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"config={str(path)!r} cannot be read as YAML: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"config={str(path)!r} must hold a mapping with `task`, `data`, `run` …")
    try:
        rename_former_keys(values)
    except InputError as error:
        raise InputError(f"config={str(path)!r}: {error}") from error
    for override in overrides:
        _apply(override, values)
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(_explained(problem) for problem in error.errors()))
        raise InputError(f"config={str(path)!r}: {problems}") from error


def _apply(override: str, values: dict[str, Any]) -> None:
    """Set one `section.key=value` in `values`."""
    name, equals, text = override.partition("=")
    *sections, key = name.split(".")
    if not equals or not key or not all(sections):
        raise InputError(f"override={override!r} must look like run.steps=500")
    key = FORMER_KEYS.get(".".join(sections), {}).get(key, key)
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"override={override!r}: {section!r} holds a value, not a section")
        values = inner
    try:
        values[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"override={override!r}: the value is not YAML") from error


def _explained(problem: Any) -> str:
    """One of pydantic's errors as `section.key=value: rule`."""
    # The first part is the task; parts such as `tuple[str, ...]` name a member of a union type.
    location = [str(part) for part in problem["loc"][1:] if "[" not in str(part)]
    name = ".".join(location) or "task"
    if problem["type"] == "extra_forbidden":
        return f"{name} is not a known key; known: {', '.join(_keys_beside(problem['loc']))}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"].startswith("union_tag"):
        given = problem["input"].get("task")
        return f"task={given!r} must be one of {', '.join(_CONFIG_BY_TASK)}"
    value = problem.get("input")
    shown = "" if isinstance(value, dict) else f"={value!r}"
    if problem["type"] == "model_type":
        keys = ", ".join(_keys_beside((*problem["loc"], "")))
        return f"{name}{shown} must be a section with the keys {keys}"
    if problem["type"] in _RULES:
        return f"{name}{shown} must be {_RULES[problem['type']]}"
    message = str(problem["msg"].removeprefix("Value error, "))
    if message.startswith("Input should be "):
        return f"{name}{shown} must be {message.removeprefix('Input should be ')}"
    if message.startswith(f"{name}.") or (not location and shown == ""):
        return message
    return f"{name}{shown}: {message}"


_RULES = {
    "dict_type": "a section of names and values",
    "tuple_type": "a list, as in [one, two]",
    "path_type": "a path",
}
"""Replacements for messages in which pydantic names Python types."""


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    """Known keys of the section at a location."""
    section: type[BaseModel] = _CONFIG_BY_TASK[location[0]]
    for part in location[1:-1]:
        section = _model_of(section.model_fields[str(part)].annotation)
    return list(section.model_fields)


def _model_of(annotation: Any) -> type[BaseModel]:
    """The section class of a field's annotation, which may be optional."""
    if get_origin(annotation) is types.UnionType:
        (model,) = (kind for kind in get_args(annotation) if kind is not type(None))
        return _model_of(model)
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation
