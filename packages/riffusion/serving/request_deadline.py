"""The deadline of a request, for the gateway and clients, which don't parse bodies.

A body of 36 MiB can hold millions of values, so it is searched, not parsed. In a JSON string a
quotation mark follows a backslash, so no prompt looks like the field. Whether the request and its
deadline are valid is for the model to say.
"""

import re

_SPACE = rb"\s{0,100}"  # bounded, like the digits, so that no body takes long
_NUMBER = rb"(\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?)"
_FIELD = re.compile(rb'"deadline_s"' + _SPACE + b":" + _SPACE + _NUMBER)


def deadline_in(body: bytes) -> float | None:
    """Seconds for the request in `body`, JSON in UTF-8; None if it doesn't say, or is msgpack."""
    found = _FIELD.search(body)
    return None if found is None else float(found[1])
