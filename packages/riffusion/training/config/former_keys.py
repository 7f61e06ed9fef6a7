"""Former names of configuration keys, which are still read; and keys that earlier runs lack."""

from typing import Any

from riffusion.errors import InputError

FORMER_KEYS = {"data": {"rolls": "circular_shifts"}, "sample": {"pictures": "images"}}
"""Current name by section and former name."""

NEW_KEYS: dict[str, dict[str, Any]] = {"data": {"lanes": None, "shuffle_shards": 4}}
"""Defaults, by section and name, of keys that runs of earlier versions were begun without."""


def add_new_keys(values: dict[str, Any]) -> None:
    """Give a run of an earlier version the keys that it lacks, in place."""
    for name, keys in NEW_KEYS.items():
        section = values.get(name)
        if isinstance(section, dict):
            values[name] = keys | section


def rename_former_keys(values: dict[str, Any]) -> None:
    """Replace former names of keys by the current ones, in place.

    Raises:
        InputError: a key is there under both names.
    """
    for name, keys in FORMER_KEYS.items():
        section = values.get(name)
        if not isinstance(section, dict):
            continue
        for former, key in keys.items():
            if former not in section:
                continue
            if key in section:
                raise InputError(
                    f"{name}.{former} is the former name of {name}.{key}; drop one of the two"
                )
            section[key] = section.pop(former)
