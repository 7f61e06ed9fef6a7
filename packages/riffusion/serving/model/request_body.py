"""Parses the bytes of a request body into a validated request.

The Truss server parses bodies with the class that `Model.predict` is annotated with: JSON with its
`parse_raw`, msgpack with its `parse_obj`. pydantic's own methods answer 500 to JSON that is nested
too deeply, accept a key that appears twice, and leave the wording of errors to Truss.
`InferenceRequest` overrides both, so every invalid body is answered with 400 and
`{"error": "<field>: <what is wrong>"}`.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from fastapi import HTTPException

from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 36 * 2**20
"""Room for the largest image or audio, 32 MiB of base64, and the other fields."""
_MAX_INTEGER_DIGITS = 40
"""Longer integers are truncated to this length. They are still far out of every field's range, so
validation reports the range."""


def decode_json(body: bytes) -> Any:
    """Decode a request body.

    `NaN` and `Infinity` are accepted here, so that validation can name their field.

    Raises:
        InputError: the body is empty, too large, not UTF-8, not JSON, nested too deeply, or has
            the same key twice in one object.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InputError(body_too_large_message(len(body)), field="request")
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
    """Make the Truss server answer 400 instead of 500 to msgpack that it cannot decode.

    Its decoder builds dates, decimals and arrays from tagged maps. If a map's content has the wrong
    type, the constructor may raise any exception, but the server expects `ValueError`. Has no
    effect outside the Truss server.
    """
    serialization = sys.modules.get("_truss_shared.serialization")
    decode: Callable[[bytes], Any] | None = getattr(
        serialization, "truss_msgpack_deserialize", None
    )
    if decode is None or hasattr(decode, "__wrapped__"):
        return

    def guarded(data: bytes) -> Any:
        try:
            if len(data) > MAX_BODY_BYTES:
                raise InputError(body_too_large_message(len(data)))
            return decode(data)
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ValueError(f"request: the body is not msgpack: {reason}") from error

    guarded.__wrapped__ = decode  # type: ignore[attr-defined]
    serialization.truss_msgpack_deserialize = guarded  # type: ignore[union-attr]


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
