"""HTTP responses for a clip and for everything that can go wrong with a request.

The Truss adapter and the Ray deployment answer with these, so that clients can't tell them apart.
"""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Response
from fastapi.responses import JSONResponse

from riffusion.datatypes import InferenceOutput
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    InputError,
    OverloadedError,
    StorageFullError,
)
from riffusion.serving.model.request_body import error_content

CLIENT_CLOSED_REQUEST = 499
NDJSON = "application/x-ndjson"
"""Media type of a stream: one JSON object per line."""
MSGPACK = "application/octet-stream"
"""Content type of requests that are msgpack, and are answered with it."""
EXPECTED_ERRORS = (InputError, OverloadedError, StorageFullError, GenerationCancelled)
"""What `error_response` translates."""


def clip_response(output: InferenceOutput, timings_s: Mapping[str, float]) -> Response:
    """A finished clip as JSON.

    Args:
        output: the clip.
        timings_s: seconds per stage; sent as a Server-Timing header (W3C), which browsers'
            developer tools show.
    """
    stages = [f"{stage};dur={1e3 * seconds:.1f}" for stage, seconds in timings_s.items()]
    return JSONResponse(output.model_dump(), headers={"Server-Timing": ", ".join(stages)})


def error_response(
    error: InputError | OverloadedError | StorageFullError | GenerationCancelled,
) -> Response:
    """The response for one of `EXPECTED_ERRORS`."""
    if isinstance(error, InputError):
        return JSONResponse(error_content(error), HTTPStatus.BAD_REQUEST)
    if isinstance(error, (OverloadedError, StorageFullError)):
        headers = {"Retry-After": str(error.retry_after_s)}
        return JSONResponse(error_content(error), HTTPStatus.SERVICE_UNAVAILABLE, headers)
    if isinstance(error, DeadlineExceededError):
        return JSONResponse(error_content(error), HTTPStatus.GATEWAY_TIMEOUT)
    return Response(status_code=CLIENT_CLOSED_REQUEST)
