"""Which web pages may use the gateway.

Browsers say with a request whose page it comes from, and a page can't change that: its origin.
Allowed are the pages of this machine, those that are named, and the gateway's own by an address or
a name without dots.
"""

import re
from collections.abc import Sequence
from typing import Any

from riffusion.errors import InputError

_LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_UNCLAIMABLE_HOST = r"([0-9.]+|\[[0-9a-fA-F:.]+\]|[A-Za-z0-9-]+)(:\d+)?"
"""An address, or a name without a dot. A name with a dot is somebody's, who may let it point here,
so that a page of theirs would pass for the gateway's own (DNS rebinding)."""


class AllowedOrigins:
    """Decides by a request's origin.

    Args:
        named: origins as browsers write them, like `https://app.example`; `*` for every page.

    Raises:
        InputError: one is no origin.
    """

    def __init__(self, named: Sequence[str] = ()) -> None:
        for origin in named:
            _check(origin)
        self._named = frozenset(named)

    def allows(self, origin: str | None, gateway_scheme: str, gateway_host: str) -> bool:
        """Whether a request may start work. CORS only hides its answer from the page.

        Args:
            origin: what the request says; None if it comes from no page.
            gateway_scheme, gateway_host: what the request calls the gateway.
        """
        if origin is None or self._named & {origin, "*"} or re.fullmatch(_LOCAL, origin):
            return True
        is_own = origin == f"{gateway_scheme}://{gateway_host}"
        return is_own and re.fullmatch(_UNCLAIMABLE_HOST, gateway_host) is not None

    @property
    def cors_options(self) -> dict[str, Any]:
        """For Starlette's CORS middleware; the gateway's own pages need none."""
        return {"allow_origins": list(self._named), "allow_origin_regex": _LOCAL}


def _check(origin: str) -> None:
    """Origins are compared as browsers send them, so one with a path would never match."""
    if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
        raise InputError(
            f"{origin!r} is no origin; write it as browsers do, like https://app.example",
            field="allowed_origin",
        )
