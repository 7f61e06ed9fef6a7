"""Valid requests to the real server, with the embedded checkpoint: clips, streams, overload."""

import contextlib
import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.spectrogram.params import SpectrogramParams
from tests.serving.conftest import TIMEOUT_S
from tests.serving.gateways import PREDICT_HEAD
from tests.serving.predict_calls import (
    WEB_APP_REQUEST,
    data_of,
    wait_for_line,
    wait_for_running_clips,
)

CLIP_DURATION_S = 5.12
STAGES = ["waiting", "prepare", "diffusion", "decode", "sound_queue", "audio", "encode"]
ROUNDING_MS = 0.05
MAX_GREY_LEVELS = 1
"""A float32 sum in another order can round to the next of 256 grey levels."""


def num_samples_and_rate(audio: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(audio)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames), frames[0].sample_rate


def long_stream(request: dict[str, Any]) -> dict[str, Any]:
    """A request that keeps the model busy until the client leaves."""
    start = {**request["start"], "denoising": 1.0}
    return {"start": start, "num_inference_steps": 150, "stream": True}


def test_a_clip(good_answer: httpx.Response) -> None:
    assert good_answer.status_code == 200, good_answer.text[:500]
    assert good_answer.headers["content-type"] == "application/json"
    clip = good_answer.json()
    assert clip["duration_s"] == CLIP_DURATION_S
    image = Image.open(io.BytesIO(data_of(clip["image"], "image/jpeg")))
    assert (image.format, image.size) == ("JPEG", (512, 512))
    params = SpectrogramParams.from_exif(image.getexif())
    assert params.num_frequencies == image.height
    num_samples, rate = num_samples_and_rate(data_of(clip["audio"], "audio/mpeg"))
    assert rate == params.sample_rate
    assert num_samples >= CLIP_DURATION_S * rate  # whole mp3 frames


def test_the_same_request_gives_the_same_bytes(
    truss_server: LocalTrussServer,
    client: httpx.Client,
    good_request: dict[str, Any],
    good_answer: httpx.Response,
) -> None:
    again = client.post(truss_server.predict_url, json=good_request)
    assert again.content == good_answer.content


def test_a_stream_is_progress_and_then_the_same_clip(
    truss_server: LocalTrussServer,
    client: httpx.Client,
    good_request: dict[str, Any],
    good_answer: httpx.Response,
) -> None:
    streamed = client.post(truss_server.predict_url, json={**good_request, "stream": True})
    assert streamed.status_code == 200
    assert streamed.headers["content-type"] == "application/x-ndjson"
    *progress, last = [json.loads(line) for line in streamed.text.splitlines()]
    timings = last.pop("timings")
    assert list(timings) == STAGES
    assert all(seconds >= 0 for seconds in timings.values())
    assert last == {"event": "result", **good_answer.json()}
    assert {event["event"] for event in progress} == {"progress"}
    steps = [event["step"] for event in progress]
    assert steps == sorted(steps)  # a busy machine repeats some, and may report step 0
    assert set(steps) - {0} == set(range(1, progress[-1]["steps"] + 1))


def test_formats_unknown_fields_and_a_log_without_prompts(
    truss_server: LocalTrussServer, client: httpx.Client, server_log: list[str]
) -> None:
    before = len(server_log)
    prompt = "a private prompt"
    request = {
        "start": {"prompt": prompt, "seed": 7},
        "num_inference_steps": 2,
        "audio_format": "wav",
        "image_format": "png",
        "worklet": 1,
    }
    clip = client.post(truss_server.predict_url, json=request).json()
    assert Image.open(io.BytesIO(data_of(clip["image"], "image/png"))).format == "PNG"
    num_samples, rate = num_samples_and_rate(data_of(clip["audio"], "audio/wav"))
    assert num_samples == round(CLIP_DURATION_S * rate)
    wait_for_line(server_log, before, " clip mode=img2img seeds=7,7 ")
    text = "\n".join(server_log[before:])
    assert "ignoring unknown fields" in text
    assert "worklet" in text
    assert prompt not in text


@pytest.mark.parametrize("through_gateway", [False, True])
def test_a_clip_stops_when_the_client_leaves_its_stream(
    through_gateway: bool,
    truss_server: LocalTrussServer,
    gateway_url: str,
    client: httpx.Client,
    good_request: dict[str, Any],
    server_log: list[str],
) -> None:
    url = f"{gateway_url}/run_inference/" if through_gateway else truss_server.predict_url
    before = len(server_log)
    with client.stream("POST", url, json=long_stream(good_request)) as answer:
        first = json.loads(next(answer.iter_lines()))
    assert first["event"] == "progress"
    assert first["steps"] > 100
    wait_for_line(server_log, before, "clip stopped: the client left")


def test_a_clip_stops_when_the_client_gives_up_waiting(
    truss_server: LocalTrussServer,
    gateway_url: str,
    client: httpx.Client,
    good_request: dict[str, Any],
    server_log: list[str],
) -> None:
    wait_for_running_clips(0, client, truss_server)
    before = len(server_log)
    body = json.dumps({**long_stream(good_request), "stream": False}).encode()
    address = urlsplit(gateway_url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_S) as connection:
        head = PREDICT_HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        wait_for_running_clips(1, client, truss_server)
    wait_for_line(server_log, before, "clip stopped: the client left")


def test_overload_is_refused_until_slots_are_free(
    truss_server: LocalTrussServer, client: httpx.Client, good_request: dict[str, Any]
) -> None:
    """The server has slots for two clips that run and two that wait."""
    url = truss_server.predict_url
    with contextlib.ExitStack() as streams:
        for _ in range(4):
            stream = client.stream("POST", url, json=long_stream(good_request))
            assert streams.enter_context(stream).status_code == 200
        for request in (good_request, {**good_request, "stream": True}):
            refused = client.post(url, json=request)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"].startswith("2 requests are waiting")
        invalid = client.post(url, json={**good_request, "alpha": 2})
        assert invalid.status_code == 400
        assert client.get(truss_server.base_url + "/v1/models/model").status_code == 200
    deadline = time.monotonic() + TIMEOUT_S
    while (answer := client.post(url, json=good_request)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert answer.status_code == 200


def test_concurrent_requests_get_the_same_images_as_single_ones(
    truss_server: LocalTrussServer, client: httpx.Client, good_request: dict[str, Any]
) -> None:
    requests = [
        {**good_request, "image_format": "png"},
        {
            "start": {"prompt": "(techno beat:1.2)", "seed": 5, "guidance": 1.0},
            "scheduler": "euler",
            "num_inference_steps": 4,
            "mask_image_id": "mask_gradient_top_70",
            "image_format": "png",
        },
        {
            "start": {"prompt": "piano", "seed": 7},
            "mode": "txt2img",
            "duration_s": 2.56,
            "preset": "fast",
            "num_inference_steps": 3,
            "image_format": "png",
        },
    ]

    def image(request: dict[str, Any]) -> npt.NDArray[np.uint8]:
        answer = client.post(truss_server.predict_url, json=request).raise_for_status()
        return np.asarray(Image.open(io.BytesIO(data_of(answer.json()["image"], "image/png"))))

    alone = [image(request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(image, requests))
    for first, second in zip(alone, together, strict=True):
        assert first.shape == second.shape
        assert np.abs(first.astype(int) - second).max() <= MAX_GREY_LEVELS


def test_the_response_has_the_duration_of_each_stage(good_answer: httpx.Response) -> None:
    stages = [part.split(";")[0] for part in good_answer.headers["server-timing"].split(", ")]
    assert stages == STAGES


def test_a_page_can_read_the_durations(
    gateway_url: str, client: httpx.Client, good_request: dict[str, Any]
) -> None:
    headers = {"Origin": "http://localhost:3000"}
    answer = client.post(f"{gateway_url}/run_inference/", json=good_request, headers=headers)
    parts = [part.split(";dur=") for part in answer.headers["server-timing"].split(", ")]
    assert [name for name, _ in parts] == [*STAGES, "endpoint"]
    *stages_ms, endpoint_ms = [float(milliseconds) for _, milliseconds in parts]
    assert sum(stages_ms) <= endpoint_ms + ROUNDING_MS * len(parts)
    assert "Server-Timing" in answer.headers["access-control-expose-headers"]
    assert answer.headers["timing-allow-origin"] == headers["Origin"]


def test_a_deadline_ends_a_clip(truss_server: LocalTrussServer, client: httpx.Client) -> None:
    request = {"start": {"prompt": "bells", "seed": 1, "denoising": 1.0}, "deadline_s": 0.5}
    answer = client.post(truss_server.predict_url, json={**request, "num_inference_steps": 150})
    assert answer.status_code == 504
    assert answer.json() == {"error": "not done within deadline_s=0.5"}


@pytest.mark.parametrize("url", ["server", "gateway"])
def test_metrics_count_clips(
    url: str,
    truss_server: LocalTrussServer,
    gateway_url: str,
    client: httpx.Client,
    good_answer: httpx.Response,
) -> None:
    base_url = gateway_url if url == "gateway" else truss_server.base_url
    lines = client.get(f"{base_url}/metrics/").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['riffusion_clips_total{outcome="done"}']) >= 1
    assert float(values["riffusion_music_seconds_total"]) >= CLIP_DURATION_S
    assert float(values["riffusion_step_seconds_count"]) >= 3
    assert float(values['riffusion_stage_seconds_count{stage="audio"}']) >= 1
    assert float(values['riffusion_cache_misses{cache="embeddings"}']) >= 2


def test_the_schema_shows_requests_and_clips(
    truss_server: LocalTrussServer, client: httpx.Client
) -> None:
    schema = client.get(truss_server.base_url + "/v1/models/model/schema").json()
    assert {"start", "end", "alpha", "stream"} <= set(schema["input_schema"]["properties"])
    assert {"image", "audio", "duration_s"} == set(schema["output_schema"]["properties"])


NODE_HEADERS = {
    "accept": "*/*",
    "accept-language": "*",
    "sec-fetch-mode": "cors",
    "user-agent": "node",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
}
"""Headers of a server in Node."""
BROWSER_HEADERS = {
    "origin": "http://localhost:3000",
    "referer": "http://localhost:3000/",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "same-site",
    "accept-encoding": "gzip, deflate, br, zstd",
    "content-type": "application/json;charset=UTF-8",
}
"""Headers of a page on another port of this machine."""


@pytest.mark.parametrize(
    ("path", "headers", "is_chunked"),
    [
        ("/run_inference/", NODE_HEADERS, False),
        ("/run_inference/", BROWSER_HEADERS, True),
        ("/run_inference", NODE_HEADERS, True),
        ("/run_inference", BROWSER_HEADERS, False),
    ],
    ids=["node", "browser, chunked", "node, without slash, chunked", "browser, without slash"],
)
def test_the_public_web_apps_fields_and_headers_are_accepted(
    path: str,
    headers: dict[str, str],
    is_chunked: bool,
    gateway_url: str,
    client: httpx.Client,
    good_answer: httpx.Response,
) -> None:
    body = WEB_APP_REQUEST.replace('"num_inference_steps":50', '"num_inference_steps":1').encode()
    content = iter([body[:50], body[50:]]) if is_chunked else body
    answer = client.post(gateway_url + path, content=content, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == list(good_answer.json())
    if "origin" in headers:
        assert answer.headers["access-control-allow-origin"] == headers["origin"]


def test_the_public_web_app_can_read_errors(gateway_url: str, client: httpx.Client) -> None:
    body = WEB_APP_REQUEST.replace('"alpha":0.25', '"alpha":1.25')
    answer = client.post(f"{gateway_url}/run_inference/", content=body, headers=BROWSER_HEADERS)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("alpha: ")
    assert answer.headers["access-control-allow-origin"] == BROWSER_HEADERS["origin"]


def test_the_public_web_app_gets_a_clip_from_the_gateway(
    gateway_url: str, client: httpx.Client
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"{gateway_url}/run_inference/", content=WEB_APP_REQUEST, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    clip = answer.json()
    assert clip["duration_s"] == CLIP_DURATION_S
    assert data_of(clip["image"], "image/jpeg")
    assert data_of(clip["audio"], "audio/mpeg")
