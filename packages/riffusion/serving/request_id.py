"""The id of a request, by which the log lines of gateway and model belong together.

A client, or a proxy, may send one as X-Request-ID; otherwise the gateway makes it, and passes it to
the model. Both send it back.
"""

import re
import uuid
from contextvars import ContextVar

REQUEST_ID = "X-Request-ID"
"""The header."""
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Ids go to logs and headers, so they hold nothing that means something there."""

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)
"""The id of the request that this task, or thread, works on."""


def begin_request(given: str | None) -> str:
    """Set the id of the current task's request.

    Args:
        given: the header's value; None if the request has none.

    Returns:
        The given id if it is well-formed, 1 to 64 letters, digits, dots, dashes and underscores;
        else a new one.
    """
    is_accepted = given is not None and _WELL_FORMED.fullmatch(given)
    request_id = given if given and is_accepted else uuid.uuid4().hex
    current_request_id.set(request_id)
    return request_id
