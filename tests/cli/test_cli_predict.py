"""predict against an endpoint on loopback, and the options of the server commands."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import encode_audio, num_samples, read_audio, segment_from_waveform
from riffusion.errors import InputError
from riffusion.io.data_urls import data_url
from riffusion.io.images import encode_image, read_image
from riffusion.server import run_app
from riffusion.serving.client import DEFAULT_RETRY_BUDGET_S, DEFAULT_TIMEOUT_S
from riffusion.serving.gateway.client_limits import DEFAULT_MAX_AT_ONCE, DEFAULT_MAX_PER_MINUTE
from tests.cli.conftest import Run

REQUEST = {"start": {"prompt": "bells", "seed": 1}, "audio_format": "ogg"}
NUM_SAMPLES = 4410


class StubEndpoint(HTTPServer):
    """Answers with mp3 and JPEG, as upstream's server does, unless a test sets other answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        audio = segment_from_waveform(np.zeros((1, NUM_SAMPLES), np.float32), 44100)
        result = {
            "audio": data_url(encode_audio(audio, "mp3"), "audio/mpeg"),
            "image": data_url(encode_image(Image.new("RGB", (10, 512)), "jpeg"), "image/jpeg"),
            "duration_s": 0.1,
        }
        self.answers: list[dict[str, Any]] = [result]
        self.rest = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: StubEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()
        for answer in self.server.answers:
            self.wfile.write(json.dumps(answer).encode() + b"\n")
        self.wfile.write(self.server.rest)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[StubEndpoint]:
    with StubEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST))
    return path


def test_a_response_in_the_right_format_is_written_unchanged(
    endpoint: StubEndpoint, request_file: Path, tmp_path: Path, run: Run
) -> None:
    out, image = tmp_path / "new/clip.mp3", tmp_path / "clip.jpg"
    result = run(
        "predict", "-f", request_file, "--endpoint", endpoint.url, "-o", out, "--image", image
    )
    assert result.code == 0, result.err
    assert f"Wrote {out} (0.10 seconds)" in result.out
    (sent,) = endpoint.requests
    assert sent["start"] == REQUEST["start"]
    assert (sent["audio_format"], sent["image_format"]) == ("mp3", "jpeg")
    assert data_url(out.read_bytes(), "audio/mpeg") == endpoint.answers[0]["audio"]
    assert data_url(image.read_bytes(), "image/jpeg") == endpoint.answers[0]["image"]


def test_stems_are_written_beside_the_audio(
    endpoint: StubEndpoint, request_file: Path, tmp_path: Path, run: Run
) -> None:
    """Whatever else an endpoint calls a stem is no file."""
    folder = tmp_path / "out"
    folder.mkdir()
    [answer] = endpoint.answers
    stems = ["drums", "residual", "../evil"]
    endpoint.answers = [answer | {"stems": dict.fromkeys(stems, answer["audio"])}]
    words = ("predict", "-f", request_file, "--endpoint", endpoint.url)
    result = run(*words, "-o", folder / "song.mp3")
    assert result.code == 0, result.err
    names = {path.name for path in tmp_path.rglob("*.mp3")}
    assert names == {"song.mp3", "song-drums.mp3", "song-residual.mp3"}


def test_other_formats_are_converted_and_stdin_is_read(
    endpoint: StubEndpoint, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(REQUEST).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setenv("RIFFUSION_ENDPOINT", endpoint.url)
    out, image = tmp_path / "clip.m4a", tmp_path / "clip.png"
    result = run("predict", "-f", "-", "-o", out, "--image", image)
    assert result.code == 0, result.err
    assert num_samples(read_audio(out)) == NUM_SAMPLES
    assert read_image(image).format == "PNG"


def test_progress_events_are_read_until_the_result(
    endpoint: StubEndpoint, request_file: Path, tmp_path: Path, run: Run
) -> None:
    steps = [{"event": "progress", "step": step, "steps": 2} for step in (1, 2)]
    endpoint.answers = [*steps, {"event": "result", **endpoint.answers[0]}]
    out = tmp_path / "clip.mp3"
    assert run("predict", "-f", request_file, "--endpoint", endpoint.url, "-o", out).code == 0
    assert num_samples(read_audio(out)) == NUM_SAMPLES


@pytest.mark.parametrize("numbers", [("x", None), (1e999, 0), ([1], -3), (None, "2"), (2, 0)])
def test_progress_that_is_no_number_does_no_harm(
    endpoint: StubEndpoint, request_file: Path, tmp_path: Path, run: Run, numbers: tuple[Any, Any]
) -> None:
    step, steps = numbers
    progress = {"event": "progress", "step": step, "steps": steps}
    endpoint.answers = [progress, {"event": "result", **endpoint.answers[0]}]
    out = tmp_path / "clip.mp3"
    result = run("predict", "-f", request_file, "--endpoint", endpoint.url, "-o", out)
    assert result.code == 0, result.err
    assert num_samples(read_audio(out)) == NUM_SAMPLES


@pytest.mark.parametrize(
    ("status", "answers", "message"),
    [
        (400, [{"error": "\x1b[2Jgone\x07\nnext\ud800"}], "\\x1b[2Jgone\\x07 next\\ud800"),
        (400, [{"error": "a caf\u00e9 \u2028 \u202eok"}], "a caf\u00e9 \\u202eok"),
        (400, [{"error": "start.seed: Field required"}], "start.seed: Field required"),
        (200, [{"event": "error", "error": "it broke"}], "it broke"),
        (200, [{"hello": "world"}], "no audio"),
        (200, [{"audio": "data:audio/mpeg;base64,AAAA"}], "not a readable audio file"),
        (200, [], "without a result"),
    ],
)
def test_errors_of_the_endpoint_are_one_line(
    endpoint: StubEndpoint,
    request_file: Path,
    tmp_path: Path,
    run: Run,
    status: int,
    answers: list[dict[str, Any]],
    message: str,
) -> None:
    endpoint.status, endpoint.answers = status, answers
    out = tmp_path / "clip.mp3"
    result = run("predict", "-f", request_file, "--endpoint", endpoint.url, "-o", out)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("rest", [b'{"event": "result", "audio": "data:au', b"\n\n{", b"\n"])
def test_a_stream_that_breaks_off_is_called_that(
    endpoint: StubEndpoint, request_file: Path, tmp_path: Path, run: Run, rest: bytes
) -> None:
    endpoint.answers, endpoint.rest = [{"event": "progress", "step": 1, "steps": 2}], rest
    out = tmp_path / "clip.mp3"
    result = run("predict", "-f", request_file, "--endpoint", endpoint.url, "-o", out)
    assert result.code == 2
    expected = "broke off its stream" if rest.strip() else "ended its stream without a result"
    assert expected in result.err
    assert len(result.err.splitlines()) == 1
    assert not out.exists()


def test_an_endpoint_must_be_an_address(request_file: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "clip.mp3"
    result = run("predict", "-f", request_file, "--endpoint", "localhost", "-o", out)
    assert result.code == 2
    assert "http://" in result.err


def test_serve_passes_its_options_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "riffusion.serving.local.serve.serve", lambda **options: calls.append(options)
    )
    result = run(
        "serve", "--port", 9001, "--gateway-port", 9002, "--host", "::1", "--checkpoint", "x/y",
        "--allowed-origin", "https://a.example", "--allowed-origin", "https://b.example",
        "--requests-per-minute", 30, "--requests-at-once", 3, "--trusted-proxy", "10.0.0.0/8",
        "--timeout", 60, "--retry-for", 5, "--loras", "some/folder",
    )  # fmt: skip
    assert result.code == 0
    (call,) = calls
    del call["announce"]
    limits = call.pop("limits")
    assert (limits.max_per_minute, limits.max_at_once) == (30, 3)
    assert call == {
        "port": 9001,
        "gateway_port": 9002,
        "host": "::1",
        "checkpoint": "x/y",
        "loras": Path("some/folder"),
        "gateway": True,
        "endpoint": None,
        "allowed_origins": ("https://a.example", "https://b.example"),
        "app_dir": None,
        "trusted_proxies": ("10.0.0.0/8",),
        "timeout_s": 60,
        "log_as_json": False,
        "retry_budget_s": 5,
    }


def test_serve_by_default_limits_as_the_gateway_does(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "riffusion.serving.local.serve.serve", lambda **options: calls.append(options)
    )
    assert run("serve").code == 0
    limits = calls[0]["limits"]
    assert (limits.max_per_minute, limits.max_at_once) == (
        DEFAULT_MAX_PER_MINUTE,
        DEFAULT_MAX_AT_ONCE,
    )
    assert calls[0]["timeout_s"] == DEFAULT_TIMEOUT_S
    assert calls[0]["retry_budget_s"] == DEFAULT_RETRY_BUDGET_S


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trusted-proxy", "proxy.example"),
        ("--trusted-proxy", "10.0.0.1/8"),
        ("--requests-at-once", "-1"),
        ("--requests-per-minute", "many"),
        ("--timeout", "0"),
    ],
)
def test_serve_refuses_invalid_options(option: str, value: str, run: Run) -> None:
    result = run("serve", option, value, "--endpoint", "http://127.0.0.1:1")
    assert result.code == 2
    assert option in result.err
    assert len(result.err.splitlines()) == 1


def test_serve_refuses_no_gateway_with_an_endpoint(run: Run) -> None:
    result = run("serve", "--no-gateway", "--endpoint", "http://127.0.0.1:1")
    assert result.code == 2
    assert result.err.startswith("error: endpoint=http://127.0.0.1:1")


def test_upstreams_server_command(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "riffusion.serving.local.serve.serve", lambda **options: calls.append(options)
    )
    run_app(checkpoint="x/y", host="127.0.0.1", port=3999)
    (call,) = calls
    assert (call["gateway_port"], call["checkpoint"]) == (3999, "x/y")
    assert call["port"] != 3999
    with pytest.raises(InputError, match=r"ssl_certificate.*reverse proxy"):
        run_app(checkpoint="x/y", ssl_certificate="cert.pem", ssl_key="key.pem")
    with pytest.raises(InputError, match="device: 'toaster'"):
        run_app(checkpoint="x/y", device="toaster")
