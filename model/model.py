"""The Truss adapter: it loads, validates, submits and encodes. Everything else is in packages/.

Truss reads the annotations of `Model.predict`: the input's class parses the body, and `/schema`
describes both. So this module must not import `annotations` from `__future__`.
"""

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from riffusion.audio.decoding_pool import DecodingPool
from riffusion.datatypes import InferenceOutput
from riffusion.runtime.gpu import check_required_gpu
from riffusion.serving.model.clip_service import ClipJob, ClipService
from riffusion.serving.model.loading import load_service
from riffusion.serving.model.request_body import InferenceRequest, guard_msgpack_decoder
from riffusion.serving.model.responses import (
    EXPECTED_ERRORS,
    MSGPACK,
    NDJSON,
    clip_response,
    error_response,
)
from riffusion.serving.request_id import REQUEST_ID, begin_request
from riffusion.serving.tracing import TRACEPARENT, begin_trace, configure_tracing


class Model:
    """Truss calls `load` once, and `predict` for each request."""

    def __init__(self) -> None:
        self._service: ClipService | None = None

    def load(self) -> None:
        """Load the checkpoint. Until this returns, the server answers 503.

        Raises:
            DeviceError: `RIFFUSION_REQUIRE_GPU` is 1, and no GPU can be used.
            InputError: an environment variable is not valid.
            CheckpointError: the checkpoint is missing, truncated or foreign.
            ServerError: the process that decodes audio doesn't start.
        """
        configure_tracing("riffusion-model")
        check_required_gpu()
        guard_msgpack_decoder()
        decoders = DecodingPool()
        decoders.start()
        self._service = load_service(decoders)

    def is_healthy(self) -> bool:
        """Whether the model works; the host restarts a replica whose model doesn't."""
        return self._service is not None and self._service.is_healthy

    async def predict(self, inputs: InferenceRequest, request: Request) -> InferenceOutput:
        """Make a clip."""
        request_id = begin_request(request.headers.get(REQUEST_ID))
        begin_trace(request.headers.get(TRACEPARENT))
        answer = await self._answer(inputs, request)
        if isinstance(answer, Response):
            answer.headers[REQUEST_ID] = request_id
        # Truss passes a Response through unchanged; the annotation is for its /schema.
        return answer  # type: ignore[return-value]

    async def _answer(
        self, inputs: InferenceRequest, request: Request
    ) -> InferenceOutput | Response:
        assert self._service is not None  # Truss calls predict after load only
        try:
            job = await self._service.submit(inputs)
            if inputs.stream:
                return _ClipStream(job)
            with request.state.watch_disconnect() as gone:
                output = await job.result(gone.is_set)
            if request.headers.get("content-type") == MSGPACK:
                return output  # Truss encodes it
            return clip_response(output, job.timings_s)
        except EXPECTED_ERRORS as error:
            return error_response(error)


class _ClipStream(StreamingResponse):
    """A job's events. The job stops when the client disconnects, even before the first event."""

    def __init__(self, job: ClipJob) -> None:
        super().__init__(job.ndjson(), media_type=NDJSON)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.stop()
