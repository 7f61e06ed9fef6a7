"""Which web pages may use the gateway.

A browser sends with each request the origin of the page that makes it, and the page can't change
it. Allowed are pages of this machine, the origins that the user names, and the gateway's own page
under an address or a host name without dots.
"""

import re
from collections.abc import Sequence
from typing import Any

from riffusion.errors import InputError
from riffusion.serving.addresses import is_ownerless

_LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_ORIGIN = r"[a-z][a-z0-9+.-]*://[^/\s]+"


class AllowedOrigins:
    """Decides by the origin of a request whether it may start work.

    Args:
        named: origins as browsers write them, like `https://app.example`; `*` for every page.

    Raises:
        InputError: a value is not an origin.
    """

    def __init__(self, named: Sequence[str] = ()) -> None:
        for origin in named:
            _check(origin)
        self._named = frozenset(named)

    def allows(self, origin: str | None, gateway_scheme: str, gateway_host: str) -> bool:
        """Whether a request may start work. CORS alone would only hide the response from the page.

        Args:
            origin: the request's Origin header; None if the request comes from no page.
            gateway_scheme, gateway_host: the address that the request used for the gateway.
        """
        if origin is None or self._named & {origin, "*"} or re.fullmatch(_LOCAL, origin):
            return True
        is_own = origin == f"{gateway_scheme}://{gateway_host}"
        return is_own and is_ownerless(gateway_host)

    @property
    def cors_options(self) -> dict[str, Any]:
        """Options of Starlette's CORS middleware; the gateway's own pages need no CORS."""
        return {"allow_origins": list(self._named), "allow_origin_regex": _LOCAL}


def remedy_for(origin: str) -> str:
    """What to do so that pages of a refused origin may use the gateway."""
    if re.fullmatch(_ORIGIN, origin):
        return f"start the gateway with --allowed-origin {origin[:100]}"
    return "open the page at an http or https address, not as a file or in a sandbox"


def _check(origin: str) -> None:
    """Origins are compared as browsers send them, so one with a path would never match."""
    if origin != "*" and not re.fullmatch(_ORIGIN, origin):
        raise InputError(
            f"{origin!r} is not an origin; write it as browsers do, like https://app.example",
            field="allowed_origin",
        )
