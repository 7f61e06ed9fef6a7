"""One `ClipService` as an actor's method: a request in; status, headers and body out."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from types import MappingProxyType

import msgpack
from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest

from riffusion.audio.decoding_pool import DecodingPool
from riffusion.datatypes import InferenceInput
from riffusion.errors import GenerationError
from riffusion.runtime.gpu import check_required_gpu
from riffusion.serving.model.clip_service import INTERNAL_ERROR, ClipService
from riffusion.serving.model.loading import load_service
from riffusion.serving.model.request_body import error_content
from riffusion.serving.model.responses import (
    EXPECTED_ERRORS,
    MSGPACK,
    NDJSON,
    clip_response,
    error_response,
)
from riffusion.serving.ray.clip_call import Head
from riffusion.serving.request_id import REQUEST_ID, begin_request
from riffusion.serving.tracing import TRACEPARENT, begin_trace, configure_tracing

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
"""Long bodies are sent in parts, which Ray need not hold in one piece."""


class ClipReplica:
    """Makes clips on one checkpoint, which the environment names as for the Truss server.

    Args:
        service: default: what the environment names is loaded.

    Raises:
        DeviceError, InputError, CheckpointError, ServerError: as `load_service`; then Serve tries
            again, and the deployment is unhealthy with this message.
    """

    def __init__(self, service: ClipService | None = None) -> None:
        if service is None:
            configure_tracing("riffusion-replica")
            check_required_gpu()
            decoders = DecodingPool()
            decoders.start()
            service = load_service(decoders)
        self._service = service

    def check_health(self) -> None:
        """Raise an exception if the model no longer works; then Serve replaces the replica.

        Raises:
            GenerationError: several clips in a row have failed.
        """
        if not self._service.is_healthy:
            raise GenerationError("several clips in a row have failed; the log has the reasons")

    async def predict(
        self, inputs: InferenceInput, headers: Mapping[str, str] = MappingProxyType({})
    ) -> AsyncIterator[Head | bytes]:
        """Make a clip. Cancelling this stops it.

        Args:
            inputs: the request.
            headers: `ingress.PASSED_HEADERS` of the request. A clip for a body of msgpack is
                msgpack, too, unless it is streamed; the others join log lines and spans.

        Yields:
            Status and headers, then the body: one item per line if it is streamed.
        """
        begin_request(headers.get(REQUEST_ID))
        begin_trace(headers.get(TRACEPARENT))
        try:
            job = await self._service.submit(inputs)
            try:
                if inputs.stream:
                    yield 200, {"content-type": NDJSON}
                    async for line in job.ndjson():
                        yield line
                    return
                output = await job.result(lambda: False)
            finally:
                job.stop()
            response: Response
            if headers.get("content-type") == MSGPACK:
                response = Response(msgpack.packb(output.model_dump()), media_type=MSGPACK)
            else:
                response = clip_response(output, job.timings_s)
        except EXPECTED_ERRORS as error:
            response = error_response(error)
        except Exception:
            logger.exception("a clip failed")
            response = internal_error()
        for part in _parts(response):
            yield part

    async def metrics(self) -> str:
        """Prometheus metrics of this replica."""
        return (await asyncio.to_thread(generate_latest)).decode()


def internal_error() -> Response:
    """The response if a clip fails for a reason that is not the request's."""
    return JSONResponse(error_content(INTERNAL_ERROR), 500)


def _parts(response: Response) -> Iterable[Head | bytes]:
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    yield response.status_code, headers
    body = bytes(response.body)
    for begin in range(0, len(body), _CHUNK_BYTES):
        yield body[begin : begin + _CHUNK_BYTES]
