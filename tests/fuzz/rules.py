"""What every answer has to keep, whatever the request was."""

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from riffusion.errors import InputError
from riffusion.serving.client import JSON, MSGPACK
from riffusion.serving.gateway.openapi import openapi_schema
from riffusion.serving.gateway.reverse_proxy import NDJSON
from riffusion.serving.model.clip_job import INTERNAL_ERROR
from riffusion.serving.model.request_body import InferenceRequest, decode_json
from tests.fuzz.requests import FuzzRequest

MAX_ANSWER_S = 30.0
"""A request that takes longer hangs. Those that draw have a deadline of 20 s."""
MAX_ERROR_CHARACTERS = 1000
_ALLOWED_5XX = (503, 504)
_SCHEMA = openapi_schema()
_PATHS = _SCHEMA["paths"]


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator for a part of the gateway's schema."""
    return Draft202012Validator({"components": _SCHEMA["components"], **schema})


_RESULT = validator({"$ref": "#/components/schemas/InferenceOutput"})
_EVENT = validator({"$ref": "#/components/schemas/StreamEvent"})
_ERROR = validator({"$ref": "#/components/schemas/Error"})


def fault_of(
    request: FuzzRequest, status: int, headers: Mapping[str, str], body: bytes, seconds: float
) -> str | None:
    """What is wrong with an answer; None if nothing is."""
    kind = headers.get("content-type", "").partition(";")[0]
    if seconds > MAX_ANSWER_S:
        return f"took {seconds:.1f} s"
    if status >= 500 and status not in _ALLOWED_5XX:
        return f"status {status}: {body[:300]!r}"
    if status == 503 and not headers.get("retry-after", "").isdigit():
        return f"503 without Retry-After: {body[:300]!r}"
    if request.method != "POST":
        return None if status < 500 else _fault_of_error(kind, body)
    documented = _PATHS.get(request.path) or _PATHS.get(f"{request.path}/")
    if documented is None:
        return None
    if str(status) not in documented["post"]["responses"]:
        return f"status {status} is not in the schema: {body[:300]!r}"
    if status != 200:
        return _fault_of_error(kind, body)
    if is_refused(request):
        return "was made, though it is not valid"
    return _fault_of_clip(kind, body)


def is_refused(request: FuzzRequest) -> bool:
    """Whether the request's class refuses its body of JSON."""
    if request.headers.get("Content-Type") == MSGPACK:
        return False
    try:
        InferenceRequest.parse(decode_json(request.content))
    except InputError:
        return True
    return False


def _fault_of_error(kind: str, body: bytes) -> str | None:
    if kind != JSON:
        return f"an error of type {kind!r}: {body[:300]!r}"
    try:
        values = json.loads(body)
    except ValueError:
        return f"an error that is not JSON: {body[:300]!r}"
    if not _ERROR.is_valid(values):
        return f"an error of another shape: {body[:300]!r}"
    message = values["error"]
    if not message or len(message) > MAX_ERROR_CHARACTERS or "\n" in message:
        return f"an error of {len(message)} characters: {message[:300]!r}"
    if re.search(r"Traceback|File \"|/(?:home|tmp|usr|work)/", message):
        return f"an error that shows the server's insides: {message[:300]!r}"
    return None


def _fault_of_clip(kind: str, body: bytes) -> str | None:
    if kind == MSGPACK:
        return None
    if kind != NDJSON:
        return None if _RESULT.is_valid(json.loads(body)) else f"not a clip: {body[:300]!r}"
    events = [json.loads(line) for line in body.splitlines() if line]
    wrong = [event for event in events if not _EVENT.is_valid(event)]
    if wrong:
        return f"not an event: {str(wrong[0])[:300]}"
    if not events or events[-1]["event"] == "progress":
        return "a stream without an end"
    if INTERNAL_ERROR in events[-1].get("error", ""):
        return f"an internal error in a stream: {events[-1]}"
    return None
