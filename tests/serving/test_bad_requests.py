"""Invalid requests to the real server: 400 with the field and the reason, and no clip."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import httpx
import msgpack
import pytest

from riffusion.serving.local.truss_server import LocalTrussServer

MEGABYTE = 10**6
MSGPACK = "application/octet-stream"


def body(**fields: Any) -> bytes:
    return json.dumps({"start": {"prompt": "bells", "seed": 1}, **fields}).encode()


def body_with_start(**fields: Any) -> bytes:
    return json.dumps({"start": {"prompt": "bells", "seed": 1, **fields}}).encode()


def raw(text: str) -> bytes:
    """A body with one more field, given as JSON text."""
    return b'{"start": {"prompt": "bells", "seed": 1}, ' + text.encode() + b"}"


def png_of(width: int, height: int) -> str:
    """A valid PNG file of black pixels, one bit each: small, whatever its width and height."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    compressor = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return base64.b64encode(data).decode()


def wav_of(seconds: int) -> str:
    """A WAV file of silence: 16 bit, 8 kHz."""
    num_bytes = seconds * 16000
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(
            b"RIFF",
            36 + num_bytes,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            8000,
            16000,
            2,
            16,
            b"data",
            num_bytes,
        ),
    )
    return base64.b64encode(header + bytes(num_bytes)).decode()


def truncated_png() -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()[:-200]).decode()


NOT_A_REQUEST = {
    "empty": b"",
    "white space": b" \n",
    "not JSON": b"{",
    "text": b"church bells",
    "form": b"prompt=church+bells&seed=1",
    "trailing comma": b'{"start": {"prompt": "x", "seed": 1,}}',
    "array": b"[]",
    "string": b'"bells"',
    "number": b"1",
    "null": b"null",
    "nested 50,000 arrays deep": b"[" * 50_000 + b"]" * 50_000,
    "nested 50,000 objects deep": b'{"start":' * 50_000 + b"1" + b"}" * 50_000,
    "nested and never closed": b"[" * 50_000,
    "not UTF-8": b'{"start": {"prompt": "\xff", "seed": 1}}',
    "UTF-16": '{"start": {"prompt": "x", "seed": 1}}'.encode("utf-16"),
    "10 million values": b'{"a": [' + b"[]," * 10_000_000 + b"[]]}",
    "10 million keys": b'{"a": {}' + b',"":0' * 7_000_000 + b"}",
    "40 MB in an unknown field": body(junk="x" * (40 * MEGABYTE)),
}

BAD_FIELD: dict[str, tuple[bytes, str]] = {
    "no start": (b"{}", "start"),
    "start is text": (body(start="bells"), "start"),
    "no seed": (b'{"start": {"prompt": "x"}}', "start.seed"),
    "no prompt": (b'{"start": {"seed": 1}}', "start.prompt"),
    "prompt is a number": (body_with_start(prompt=1), "start.prompt"),
    "prompt is null": (body_with_start(prompt=None), "start.prompt"),
    "prompt of 1 MB": (body_with_start(prompt="x" * MEGABYTE), "start.prompt"),
    "prompt with half a surrogate pair": (body_with_start(prompt="\ud800"), "start.prompt"),
    "negative prompt of 1 MB": (
        body_with_start(negative_prompt="x" * MEGABYTE),
        "start.negative_prompt",
    ),
    "seed is text": (body_with_start(seed="1"), "start.seed"),
    "seed is a fraction": (body_with_start(seed=1.5), "start.seed"),
    "seed is true": (body_with_start(seed=True), "start.seed"),
    "seed below 0": (body_with_start(seed=-1), "start.seed"),
    "seed of 2**63": (body_with_start(seed=2**63), "start.seed"),
    "seed of 5,000 digits": (
        b'{"start": {"prompt": "x", "seed": ' + b"9" * 5000 + b"}}",
        "start.seed",
    ),
    "seed below 0 of 5,000 digits": (
        b'{"start": {"prompt": "x", "seed": -' + b"9" * 5000 + b"}}",
        "start.seed",
    ),
    "seed twice": (b'{"start": {"prompt": "x", "seed": 1, "seed": 2}}', "seed"),
    "denoising over 1": (body_with_start(denoising=1.01), "start.denoising"),
    "denoising is NaN": (body_with_start(denoising=float("nan")), "start.denoising"),
    "guidance is infinite": (body_with_start(guidance=float("inf")), "start.guidance"),
    "guidance is minus infinite": (body_with_start(guidance=float("-inf")), "start.guidance"),
    "guidance overflows": (
        b'{"start": {"prompt": "x", "seed": 1, "guidance": 1e999}}',
        "start.guidance",
    ),
    "end without seed": (body(end={"prompt": "x"}), "end.seed"),
    "alpha over 1": (body(alpha=1.5), "alpha"),
    "alpha is NaN": (raw('"alpha": NaN'), "alpha"),
    "alpha is text": (body(alpha="0.5"), "alpha"),
    "no steps": (body(num_inference_steps=0), "num_inference_steps"),
    "151 steps": (body(num_inference_steps=151), "num_inference_steps"),
    "half a step": (body(num_inference_steps=0.5), "num_inference_steps"),
    "unknown mode": (body(mode="magic"), "mode"),
    "unknown scheduler": (body(scheduler="magic"), "scheduler"),
    "unknown audio format": (body(audio_format="midi"), "audio_format"),
    "unknown image format": (body(image_format="exe"), "image_format"),
    "duration without txt2img": (body(duration_s=5), "duration_s"),
    "duration of an hour": (body(mode="txt2img", duration_s=3600), "duration_s"),
    "stream is text": (body(stream="yes"), "stream"),
    "unknown seed image": (body(seed_image_id="nope"), "seed_image_id"),
    "seed image is null": (body(seed_image_id=None), "seed_image_id"),
    "seed image is empty": (body(seed_image_id=""), "seed_image_id"),
    "seed image is a relative path": (body(seed_image_id="../../etc/passwd"), "seed_image_id"),
    "seed image is a path to itself": (body(seed_image_id="./og_beat"), "seed_image_id"),
    "seed image is an absolute path": (body(seed_image_id="/etc/passwd"), "seed_image_id"),
    "seed image with NUL": (body(seed_image_id="og_beat\0.png"), "seed_image_id"),
    "seed image of 10,000 characters": (body(seed_image_id="a" * 10_000), "seed_image_id"),
    "seed image is a mask": (body(seed_image_id="mask_gradient_dark"), "seed_image_id"),
    "unknown mask": (body(mask_image_id="nope"), "mask_image_id"),
    "mask is a path": (body(mask_image_id="../masks/mask_gradient_dark"), "mask_image_id"),
    "init image is not base64": (body(init_image="!!!"), "init_image"),
    "init image is broken base64": (body(init_image="abcde"), "init_image"),
    "init image is empty": (body(init_image=""), "init_image"),
    "init image is a URL": (body(init_image="https://example.com/a.png"), "init_image"),
    "init image is a file URL": (body(init_image="file:///etc/passwd"), "init_image"),
    "init image does not decode": (
        body(init_image=base64.b64encode(b"not an image").decode()),
        "init_image",
    ),
    "init image is truncated": (body(init_image=truncated_png()), "init_image"),
    "init image of 20,000 × 20,000 pixels": (body(init_image=png_of(20_000, 20_000)), "init_image"),
    "init image is an object": (body(init_image={"a": 1}), "init_image"),
    "init audio does not decode": (
        body(init_audio=base64.b64encode(b"not audio").decode()),
        "init_audio",
    ),
    "init audio of 10 minutes": (body(init_audio=wav_of(600)), "init_audio"),
    "init audio and init image": (body(init_image="YQ==", init_audio="YQ=="), "init_audio"),
    "mask does not decode": (
        body(mask_image=base64.b64encode(b"not an image").decode()),
        "mask_image",
    ),
    "two masks": (
        body(mask_image=png_of(8, 8), mask_image_id="mask_gradient_dark"),
        "mask_image",
    ),
    "streamed": (body(stream=True, alpha=2), "alpha"),
    "streamed, unknown id": (body(stream=True, seed_image_id="nope"), "seed_image_id"),
}

OBJECTS = {b"nd": True, b"type": "|O", b"kind": b"", b"shape": (1,), b"data": b"A" * 8}
"""msgpack-numpy makes an array of it whose one element is at the address 0x4141414141414141."""
THIRTY_MILLION = 30_000_000

BAD_MSGPACK: dict[str, tuple[bytes, str]] = {
    "JSON": (body(), "request"),
    "empty": (b"", "request"),
    "reserved byte": (b"\xc1", "request"),
    "nested 50,000 deep": (b"\x91" * 50_000 + b"\xc0", "request"),
    "timedelta of a number": (
        msgpack.packb({b"__dt_timedelta__": True, b"data": 5}),
        "request",
    ),
    "array of no type": (
        msgpack.packb({b"nd": True, b"type": b"zz", b"shape": [1], b"kind": b"", b"data": b"x"}),
        "request",
    ),
    "pickled array": (
        msgpack.packb({b"nd": True, b"type": b"O", b"shape": [1], b"kind": b"O", b"data": b"x"}),
        "request",
    ),
    "array of objects at an address of the client's": (
        msgpack.packb({"start": {"prompt": "x", "seed": 1}, "mode": OBJECTS}),
        "request",
    ),
    "the same as the seed": (
        msgpack.packb({"start": {"prompt": "x", "seed": {**OBJECTS, b"shape": ()}}}),
        "request",
    ),
    "30 million arrays": (b"\x81\xa1a\xdd" + THIRTY_MILLION.to_bytes(4, "big"), "request"),
    "30 million arrays in arrays": (
        b"\x81\xa1a\xdc\x4e\x20" + (b"\xdc\x05\xdc" + b"\x90" * 1500) * 20_000,
        "request",
    ),
    "an extension": (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "request"),
    "the same key twice": (b"\x82\xa1a\x01\xa1a\x02", "a"),
    "list": (msgpack.packb([1]), "request"),
    "no seed": (msgpack.packb({"start": {"prompt": "x"}}), "start.seed"),
    "bytes for text": (msgpack.packb({"start": {"prompt": b"x", "seed": 1}}), "start.prompt"),
}


@pytest.fixture(autouse=True)
def no_clip_is_made(server_log: list[str]) -> Any:
    before = len(server_log)
    yield
    assert [line for line in server_log[before:] if " clip " in line] == []


@pytest.mark.parametrize("name", NOT_A_REQUEST)
def test_bodies_that_are_not_requests(
    name: str, truss_server: LocalTrussServer, client: httpx.Client
) -> None:
    answer = client.post(truss_server.predict_url, content=NOT_A_REQUEST[name])
    assert_refused(answer, "request")


@pytest.mark.parametrize("name", BAD_FIELD)
def test_invalid_fields(name: str, truss_server: LocalTrussServer, client: httpx.Client) -> None:
    content, field = BAD_FIELD[name]
    assert_refused(client.post(truss_server.predict_url, content=content), field)


@pytest.mark.parametrize("name", BAD_MSGPACK)
def test_invalid_msgpack_bodies(
    name: str, truss_server: LocalTrussServer, client: httpx.Client
) -> None:
    content, field = BAD_MSGPACK[name]
    headers = {"Content-Type": MSGPACK}
    answer = client.post(truss_server.predict_url, content=content, headers=headers)
    assert_refused(answer, field)


def test_the_gateway_passes_errors_on_unchanged(
    truss_server: LocalTrussServer, gateway_url: str, client: httpx.Client
) -> None:
    for content in (b"", b"{", body(alpha=2), body(stream=True, seed_image_id="nope")):
        direct = client.post(truss_server.predict_url, content=content)
        through = client.post(f"{gateway_url}/run_inference/", content=content)
        assert (through.status_code, through.json()) == (direct.status_code, direct.json())


def test_the_gateway_refuses_large_bodies_itself(gateway_url: str, client: httpx.Client) -> None:
    content = NOT_A_REQUEST["40 MB in an unknown field"]
    assert_refused(client.post(f"{gateway_url}/run_inference/", content=content), "request")


def assert_refused(answer: httpx.Response, field: str) -> None:
    assert answer.status_code == 400, answer.text[:300]
    assert list(answer.json()) == ["error"]
    message = answer.json()["error"]
    assert message.startswith(f"{field}: "), message
    assert len(message) < 500
