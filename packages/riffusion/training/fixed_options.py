"""Options of networks that follow from something else."""

from collections.abc import Mapping
from typing import Any

from riffusion.errors import InputError


def check_fixed_options(
    options: Mapping[str, Any], fixed: Mapping[str, Any], section: str, reason: str
) -> None:
    """Check that what a configuration says of options that are settled is what they are.

    Args:
        options: as configured.
        fixed: as they must be.
        section: of the configuration, for the message.
        reason: what settles them, as in `the VAE is`.

    Raises:
        InputError: one differs.
    """
    for name, value in fixed.items():
        given = options.get(name, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise InputError(
                f"{section}.{name}={given!r} must be {value!r}, as {reason}; leave it out"
            )
