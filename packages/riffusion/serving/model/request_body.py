"""Parses the bytes of a request body into a validated request.

The Truss server parses bodies with the class that `Model.predict` is annotated with: JSON with its
`parse_raw`, msgpack with its `parse_obj`. pydantic's own methods answer 500 to JSON that is nested
too deeply, accept a key that appears twice, and leave the wording of errors to Truss.
`InferenceRequest` overrides both, so every invalid body is answered with 400 and
`{"error": "<field>: <what is wrong>"}`.

Truss' decoder of msgpack isn't used: it makes dates, decimals and NumPy arrays of tagged maps, also
arrays of Python objects, whose addresses the body can choose, and they can end the process.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from fastapi import HTTPException

from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError, ServerError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 36 * 2**20
"""Room for the largest image or audio, 32 MiB of base64, and the other fields."""
MAX_VALUES = 20_000
"""Values in a body; requests have some dozens. A body of `MAX_BODY_BYTES` has room for 36 million,
which take gigabytes and many seconds, and everyone waits meanwhile."""
_MAX_INTEGER_DIGITS = 40
"""Longer integers are truncated to this length. They are still far out of every field's range, so
validation reports the range."""


def decode_json(body: bytes) -> Any:
    """Decode a request body.

    `NaN` and `Infinity` are accepted here, so that validation can name their field.

    Raises:
        InputError: the body is empty, too large, not UTF-8, not JSON, nested too deeply, or has
            too many values, or the same key twice in one object.
    """
    _check_size(body)
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:  # those in texts count, too
        raise InputError(_TOO_MANY_VALUES, field="request")
    if not body.strip():
        raise InputError("the body is empty; send a JSON object", field="request")
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object_from_pairs,
            parse_int=lambda digits: int(digits[:_MAX_INTEGER_DIGITS]),
        )
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} of the body is not UTF-8; send JSON in UTF-8", field="request"
        ) from error
    except RecursionError:
        raise InputError("the JSON is nested too deeply", field="request") from None
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}", field="request") from error


def decode_msgpack(body: bytes) -> Any:
    """Decode a request body in msgpack, which may have the types that JSON has, and bytes.

    Raises:
        InputError: the body is too large, not msgpack, nested too deeply, or has too many values,
            the same key twice in one map, a key that isn't text, or a type that JSON doesn't have.
    """
    import msgpack  # Truss and Ray bring it

    _check_size(body)
    count = _ValueCount()
    try:
        return msgpack.unpackb(
            body,
            object_pairs_hook=count.object_from_pairs,
            list_hook=count.list_from,
            ext_hook=_refuse_extension,
            max_array_len=MAX_VALUES,
            max_map_len=MAX_VALUES,
        )
    except InputError:
        raise
    except Exception as error:  # msgpack has several, and none in common
        reason = str(error) or type(error).__name__
        raise InputError(f"the body is not msgpack: {reason}", field="request") from error


def body_too_large_message(num_bytes: int) -> str:
    """The error message for a body of at least `num_bytes`."""
    return (
        f"the body has {num_bytes} bytes or more; at most {MAX_BODY_BYTES} are allowed, "
        "so send a smaller image or shorter audio"
    )


def error_content(error: Exception | str) -> dict[str, str]:
    """The JSON of an error response. Lone surrogates, which UTF-8 can't encode, are escaped."""
    return {"error": str(error).encode("utf-8", "backslashreplace").decode("utf-8")}


class InferenceRequest(InferenceInput):
    """An `InferenceInput` that the Truss server can parse from a body."""

    @classmethod
    def parse_raw(cls, b: str | bytes, **_: Any) -> Self:
        """Parse a JSON body. Truss calls it by this name, which is pydantic 1's."""
        body = b.encode("utf-8", "surrogatepass") if isinstance(b, str) else b
        with _input_errors_as_400():
            return cls._parse_object(decode_json(body))

    @classmethod
    def parse_obj(cls, obj: Any) -> Self:
        """Parse a decoded msgpack body. Truss calls it by this name, which is pydantic 1's."""
        with _input_errors_as_400():
            return cls._parse_object(obj)

    @classmethod
    def _parse_object(cls, values: Any) -> Self:
        if not isinstance(values, dict):
            kind = "null" if values is None else type(values).__name__
            raise InputError(f"the body must be a JSON object, not {kind}", field="request")
        return cls.parse(values)


def guard_msgpack_decoder() -> None:
    """Make the Truss server decode msgpack by `decode_msgpack`.

    Has no effect outside the Truss server.

    Raises:
        ServerError: this version of Truss has no such decoder.
    """
    serialization = sys.modules.get("_truss_shared.serialization")
    if serialization is None:
        return
    if not hasattr(serialization, "truss_msgpack_deserialize"):
        raise ServerError("this version of Truss can't be told how to decode msgpack safely")
    serialization.truss_msgpack_deserialize = decode_msgpack  # type: ignore[attr-defined]


_TOO_MANY_VALUES = f"the body has more than {MAX_VALUES} values; requests have some dozens"


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise InputError(body_too_large_message(len(body)), field="request")


class _ValueCount:
    """Counts the values of a body in msgpack while it is decoded."""

    def __init__(self) -> None:
        self._count = 0

    def object_from_pairs(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        self._add(len(pairs))
        if not all(isinstance(name, str) for name, _ in pairs):
            raise InputError("a key in msgpack is not text", field="request")
        return _object_from_pairs(pairs)

    def list_from(self, values: list[Any]) -> list[Any]:
        self._add(len(values))
        return values

    def _add(self, count: int) -> None:
        self._count += 1 + count
        if self._count > MAX_VALUES:
            raise InputError(_TOO_MANY_VALUES, field="request")


def _refuse_extension(code: int, _: bytes) -> Any:
    raise InputError(f"the msgpack has an extension type ({code})", field="request")


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise InputError("appears twice in one object; send it once", field=name[:60])
        values[name] = value
    return values


@contextmanager
def _input_errors_as_400() -> Iterator[None]:
    """Turn `InputError` into a response with status 400."""
    try:
        yield
    except InputError as error:
        logger.info("refused: field=%r", error.field)
        raise HTTPException(400, detail=error_content(error)["error"]) from error
