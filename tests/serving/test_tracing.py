"""Spans of gateway and model: one trace, its stages in order, by OTLP and to a file."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving import tracing
from riffusion.serving.model.clip_service import ClipService
from riffusion.serving.request_id import begin_request
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import tiny_model, write_folder
from tests.patience import wait_until
from tests.serving.backends import Backend, say
from tests.serving.gateways import CLIP, REQUEST, gateway_to

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE_ID}-{SPAN_ID}-01"
STAGES = ["waiting", "prepare", "diffusion", "decode", "sound_queue", "audio", "encode"]
INPUTS = InferenceInput.parse(
    {
        "start": {"prompt": "a private prompt", "seed": 1},
        "mode": "txt2img",
        "duration_s": 0.16,
        "num_inference_steps": 2,
        "scheduler": "ddim",
    }
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", tracing.TRACE_FILE, *tracing._ENDPOINTS):
        monkeypatch.delenv(name, raising=False)
    yield
    tracing.stop_tracing()


@pytest.fixture
def trace_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(tracing.TRACE_FILE, str(tmp_path / "spans.jsonl"))
    return tmp_path / "spans.jsonl"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ClipService]:
    folder = write_folder(tiny_model(), tmp_path / "tiny")
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=16)
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield ClipService(generator)
    generator.close()


def spans_in(path: Path) -> list[dict[str, Any]]:
    tracing.stop_tracing()
    return [json.loads(line) for line in path.read_text().splitlines()]


async def predict(service: ClipService, inputs: InferenceInput) -> None:
    begin_request("id-1")
    tracing.begin_trace(GIVEN)
    job = await service.submit(inputs)
    await job.result(lambda: False)
    await job.task


def test_a_clip_has_a_span_per_stage(service: ClipService, trace_file: Path) -> None:
    tracing.configure_tracing("model")
    asyncio.run(predict(service, INPUTS))
    spans = {span["name"]: span for span in spans_in(trace_file)}
    assert list(spans) == ["resolve", *STAGES, "predict"]  # in the order of their ends
    root = spans["predict"]
    assert root["parent_id"] == f"0x{SPAN_ID}"
    assert root["attributes"] == {
        "riffusion.request_id": "id-1",
        "riffusion.mode": "txt2img",
        "riffusion.outcome": "done",
        "riffusion.draws": 1,
    }
    assert root["resource"]["attributes"]["service.name"] == "model"
    for name, span in spans.items():
        assert span["context"]["trace_id"] == f"0x{TRACE_ID}"
        assert name == "predict" or span["parent_id"] == root["context"]["span_id"]
        assert root["start_time"] <= span["start_time"] <= span["end_time"] <= root["end_time"]
    assert spans["diffusion"]["attributes"] == {"riffusion.steps": 2}
    for before, after in zip(["resolve", *STAGES], STAGES, strict=False):
        assert spans[before]["end_time"] == spans[after]["start_time"]
    assert "private" not in trace_file.read_text()


def test_a_request_that_is_refused_has_a_span(service: ClipService, trace_file: Path) -> None:
    tracing.configure_tracing("model")
    unknown = INPUTS.model_copy(update={"mode": "img2img", "seed_image_id": "nope"})
    with pytest.raises(InputError):
        asyncio.run(predict(service, unknown))
    (span,) = spans_in(trace_file)
    assert (span["name"], span["attributes"]["riffusion.outcome"]) == ("predict", "invalid")
    assert span["status"]["status_code"] == "UNSET"  # the request's fault


def test_nothing_is_recorded_unless_it_is_configured(service: ClipService) -> None:
    tracing.configure_tracing("model")
    asyncio.run(predict(service, INPUTS))
    assert tracing.start_span("x", None) is None


@pytest.mark.parametrize("is_disabled", [False, True])
def test_the_standard_variables_are_followed(
    is_disabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Backend(say(b"", media_type="application/x-protobuf")) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true" if is_disabled else "false")
        tracing.configure_tracing("model")
        tracing.end_span(tracing.start_span("work", GIVEN), {"steps": 3}, has_failed=True)
        tracing.stop_tracing()
        if is_disabled:
            assert collector.requests == []
            return
        ((path, headers, body),) = collector.requests
    assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
    assert names["service.name"] == "mine"
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (
        "work",
        TRACE_ID,
        SPAN_ID,
    )
    assert span.attributes[0].value.int_value == 3
    assert span.status.code == span.status.STATUS_CODE_ERROR


@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_gateways_span_is_the_endpoints_parent(status: int, trace_file: Path) -> None:
    content = CLIP if status == 200 else b'{"error": "x"}'
    headers = {"traceparent": GIVEN, "X-Request-ID": "id-2"}
    with Backend(say(content, status)) as backend, gateway_to(backend.url) as client:
        client.post("/run_inference/", content=REQUEST, headers=headers)
    (span,) = spans_in(trace_file)
    ((_, sent, _),) = backend.requests
    assert sent["traceparent"] == f"00-{TRACE_ID}-{span['context']['span_id'][2:]}-01"
    assert (span["kind"], span["parent_id"]) == ("SpanKind.SERVER", f"0x{SPAN_ID}")
    assert span["attributes"] == {
        "riffusion.request_id": "id-2",
        "http.response.status_code": status,
    }
    assert span["status"]["status_code"] == ("ERROR" if status == 500 else "UNSET")


@pytest.mark.parametrize(
    ("given", "is_passed_on"),
    [
        (GIVEN, True),
        (GIVEN.upper(), False),
        (f"00-{'0' * 32}-{SPAN_ID}-01", False),
        (f"00-{TRACE_ID}-{'0' * 16}-01", False),
        (GIVEN + "-x", False),
        ("", False),
    ],
)
def test_without_spans_a_well_formed_traceparent_is_passed_on(
    given: str, is_passed_on: bool
) -> None:
    with Backend(say(CLIP)) as backend, gateway_to(backend.url) as client:
        client.post("/run_inference/", content=REQUEST, headers={"traceparent": given})
    ((_, sent, _),) = backend.requests
    assert sent.get("traceparent") == (given if is_passed_on else None)


def test_one_trace_leads_from_the_gateway_to_the_models_stages(
    gateway_url: str, client: httpx.Client, good_request: dict[str, Any], server_spans: Path
) -> None:
    """The gateway records nothing here, so the client's span is the parent of the server's."""
    headers = {"traceparent": GIVEN, "X-Request-ID": "id-3"}
    answer = client.post(f"{gateway_url}/run_inference/", json=good_request, headers=headers)
    assert answer.status_code == 200

    def spans() -> list[dict[str, Any]]:
        lines = server_spans.read_text().splitlines() if server_spans.exists() else []
        loaded = map(json.loads, lines)
        return [span for span in loaded if span["context"]["trace_id"] == f"0x{TRACE_ID}"]

    wait_until(lambda: any(span["name"] == "predict" for span in spans()), "no span")
    *stages, root = spans()
    assert [span["name"] for span in stages] == ["resolve", *STAGES]
    assert all(span["parent_id"] == root["context"]["span_id"] for span in stages)
    assert root["parent_id"] == f"0x{SPAN_ID}"
    assert root["attributes"]["riffusion.request_id"] == "id-3"
    assert root["resource"]["attributes"]["service.name"] == "riffusion-model"


def test_a_file_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(tracing.TRACE_FILE, str(tmp_path / "no/folder.jsonl"))
    tracing.configure_tracing("model")
    assert re.search(r"no spans are recorded: RIFFUSION_TRACE_FILE=.*: No such", caplog.text)
    assert tracing.start_span("x", None) is None
