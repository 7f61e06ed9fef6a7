"""OpenTelemetry spans of requests, from the gateway to the stages of a clip.

    gateway request ─▶ traceparent ─▶ predict ─▶ resolve, waiting, prepare, diffusion, decode,
                                                 sound_queue, audio, encode

The standard variables say where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT` and its relatives), or
`RIFFUSION_TRACE_FILE` names a file for JSON lines. Without them nothing is recorded, and
OpenTelemetry isn't imported; a client's traceparent (W3C Trace Context) is passed on nevertheless.
The provider belongs to this module, and isn't OpenTelemetry's global one, so the Truss server's own
tracer and this one don't meet.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

TRACEPARENT = "traceparent"
"""The header."""
TRACE_FILE = "RIFFUSION_TRACE_FILE"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_WELL_FORMED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

current_traceparent: ContextVar[str | None] = ContextVar("current_traceparent", default=None)
"""The span that this task's next span belongs to, as the header names it."""

_provider: TracerProvider | None = None


def begin_trace(given: str | None) -> None:
    """Continue a trace in the current task.

    Args:
        given: the header's value; None if the request has none. What isn't well-formed is ignored.
    """
    is_accepted = given is not None and _WELL_FORMED.fullmatch(given)
    current_traceparent.set(given if is_accepted else None)


def configure_tracing(service_name: str) -> None:
    """Record spans from now on, if the environment says where to.

    Args:
        service_name: name of this service, if `OTEL_SERVICE_NAME` isn't set.
    """
    global _provider
    path = os.environ.get(TRACE_FILE)
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_disabled or not (path or any(map(os.environ.get, _ENDPOINTS))):
        return
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _file_exporter(Path(path)) if path else _otlp_exporter()
    except ImportError as error:
        logger.warning("no spans are recorded: %s; pip install 'riffusion-truss[gateway]'", error)
        return
    except OSError as error:
        logger.warning("no spans are recorded: %s=%s: %s", TRACE_FILE, path, error.strerror)
        return
    name = os.environ.get("OTEL_SERVICE_NAME", service_name)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stop_tracing()
    _provider = provider
    logger.info("spans of %s go to %s", name, path or "OpenTelemetry's collector")


def stop_tracing() -> None:
    """Export the spans so far, and record no more. The end of the process does the same."""
    global _provider
    provider, _provider = _provider, None
    if provider is not None:
        provider.shutdown()


def start_span(
    name: str, parent: str | None, *, is_server: bool = False, start_ns: int | None = None
) -> Span | None:
    """Begin a span; None if none are recorded.

    Args:
        name: what takes the time.
        parent: the span that it belongs to, as a traceparent; None for a new trace.
        is_server: whether the span answers a request of another process.
        start_ns: nanoseconds since the epoch; None for now.
    """
    if _provider is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if parent is None else {TRACEPARENT: parent}
    context = TraceContextTextMapPropagator().extract(carrier, Context())
    kind = SpanKind.SERVER if is_server else SpanKind.INTERNAL
    tracer = _provider.get_tracer("riffusion")
    return tracer.start_span(name, context, kind, start_time=start_ns)


def end_span(
    span: Span | None,
    attributes: Mapping[str, str | int | float],
    *,
    has_failed: bool = False,
    end_ns: int | None = None,
) -> None:
    """End a span.

    Args:
        span: what `start_span` returned.
        attributes: facts about what was done; no text of a request.
        has_failed: whether this service couldn't do it.
        end_ns: nanoseconds since the epoch; None for now.
    """
    if span is None:
        return
    from opentelemetry.trace import Status, StatusCode

    span.set_attributes(attributes)
    if has_failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end(end_ns)


def traceparent_of(span: Span) -> str:
    """The span as the header names it."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _otlp_exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()  # which reads the variables


def _file_exporter(path: Path) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class FileExporter(SpanExporter):
        """Appends spans to a file, one JSON object per line, each batch with one write."""

        def __init__(self) -> None:
            self._file = path.open("a", encoding="utf-8")

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self._file.write("".join(span.to_json(indent=None) + "\n" for span in spans))
            self._file.flush()
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            self._file.close()

    return FileExporter()
