"""Modes that edit a recording, on the real server with the embedded checkpoint."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

from riffusion.cli.predict import predict
from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.recordings import Integers, noise_of, read, write
from tests.editing.stems_and_melodies import midi
from tests.patience import PATIENCE_S
from tests.serving.predict_calls import data_of, wait_for_line, wait_for_running_clips

PAGE = Path(__file__).parents[2] / "docs/editing.md"
RATE = 48_000
DURATION_S = 3.0


def wav(samples: Integers, rate: int = RATE, bits: int = 24) -> str:
    """A data URL of (channels, samples)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.T, rate, subtype=f"PCM_{bits}", format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def noise(seconds: float, rate: int = RATE, count: int = 2, bits: int = 24) -> Integers:
    """Noise at a quarter of full scale, with all bits in use."""
    samples = noise_of(bits, count, round(seconds * rate)) >> 2
    return samples >> (32 - bits) << (32 - bits)


@pytest.fixture(scope="module")
def song() -> Integers:
    return noise(DURATION_S)


@pytest.fixture(scope="module")
def repaint_request(song: Integers) -> dict[str, Any]:
    return {
        "mode": "repaint",
        "start": {"prompt": "church bells", "seed": 3},
        "init_audio": wav(song),
        "region": {"from_s": 1.25, "to_s": 2.0},
        "preset": "fast",
        "num_inference_steps": 3,
        "audio_format": "wav",
        "image_format": "png",
    }


def test_a_region_is_repainted_and_all_else_is_kept_bit_for_bit(
    gateway_url: str,
    client: httpx.Client,
    song: Integers,
    repaint_request: dict[str, Any],
) -> None:
    request = {**repaint_request, "stream": True}
    streamed = client.post(f"{gateway_url}/run_inference/", json=request)
    assert streamed.status_code == 200, streamed.text[:500]
    *progress, last = [json.loads(line) for line in streamed.text.splitlines()]
    assert {event["event"] for event in progress} == {"progress"}
    assert progress[-1]["step"] == progress[-1]["steps"]
    assert last.pop("event") == "result"
    assert last.pop("timings").keys() >= {"waiting", "edit", "audio"}
    audio = data_of(last.pop("audio"), "audio/wav")
    image = Image.open(io.BytesIO(data_of(last.pop("image"), "image/png")))
    assert last == {"duration_s": DURATION_S, "image_from_s": 1.25}
    assert image.size == (75, 512)
    assert SpectrogramParams.from_exif(image.getexif()).num_frequencies == 512
    info = soundfile.info(io.BytesIO(audio))
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 2, "PCM_24")
    after = soundfile.read(io.BytesIO(audio), dtype="int32")[0].T
    start, stop = round(1.25 * RATE), 2 * RATE
    assert after.shape == song.shape
    assert np.array_equal(after[:, :start], song[:, :start])
    assert np.array_equal(after[:, stop:], song[:, stop:])
    assert (after[:, start:stop] != song[:, start:stop]).mean() > 0.9


def test_other_modes_answer_too(
    truss_server: LocalTrussServer, client: httpx.Client, repaint_request: dict[str, Any]
) -> None:
    request = {"mode": "retime", "init_audio": repaint_request["init_audio"], "semitones": 1}
    answer = client.post(truss_server.predict_url, json={**request, "audio_format": "flac"})
    assert answer.status_code == 200, answer.text[:500]
    fields = answer.json()
    audio = io.BytesIO(data_of(fields.pop("audio"), "audio/flac"))
    info = soundfile.info(audio)
    assert (info.subtype, info.frames) == ("PCM_24", round(DURATION_S * RATE))
    fields.pop("image")
    assert fields == {"duration_s": DURATION_S, "image_from_s": 0.0, "semitones": 1.0}


def test_stems_add_up_and_a_remix_leaves_one_out(
    gateway_url: str, client: httpx.Client, song: Integers
) -> None:
    request = {"init_audio": wav(song), "audio_format": "flac"}
    url = f"{gateway_url}/run_inference/"
    answer = client.post(url, json={**request, "mode": "stems"})
    assert answer.status_code == 200, answer.text[:500]
    stems = {
        name: soundfile.read(io.BytesIO(data_of(stem, "audio/flac")), dtype="int32")[0].T
        for name, stem in answer.json()["stems"].items()
    }
    assert list(stems) == ["drums", "bass", "harmonic", "residual"]
    assert np.array_equal(sum(stem.astype(np.int64) for stem in stems.values()), song)
    answer = client.post(url, json={**request, "mode": "remix", "mute": ["drums"]})
    assert answer.status_code == 200, answer.text[:500]
    rest = soundfile.read(io.BytesIO(data_of(answer.json()["audio"], "audio/flac")), dtype="int32")
    assert np.array_equal(
        rest[0].T, np.clip(song.astype(np.int64) - stems["drums"], -(2**31), 2**31 - 256)
    )


def test_a_melody_in_midi_is_followed(truss_server: LocalTrussServer, client: httpx.Client) -> None:
    start = {"prompt": "flute", "seed": 1, "denoising": 0.4}
    request = {"mode": "follow", "start": start, "init_midi": midi(69, 72), "audio_format": "wav"}
    answer = client.post(
        truss_server.predict_url, json={**request, "scheduler": "lcm", "num_inference_steps": 1}
    )
    assert answer.status_code == 200, answer.text[:500]
    fields = answer.json()
    info = soundfile.info(io.BytesIO(data_of(fields.pop("audio"), "audio/wav")))
    assert (info.samplerate, info.channels, info.frames) == (44_100, 1, 44_100)
    fields.pop("image")
    assert 0 <= fields.pop("pitch_agreement") <= 1
    assert fields == {"duration_s": 1.0, "image_from_s": 0.0, "denoising": 0.4}


def test_predict_takes_an_edit_in_its_request_file(
    truss_server: LocalTrussServer, repaint_request: dict[str, Any], song: Integers, tmp_path: Path
) -> None:
    request = {"mode": "retime", "init_audio": repaint_request["init_audio"], "semitones": 0}
    (tmp_path / "request.json").write_text(json.dumps(request))
    predict(
        request=str(tmp_path / "request.json"),
        endpoint=truss_server.predict_url,
        output=tmp_path / "out.wav",
    )
    assert np.array_equal(read(tmp_path / "out.wav", RATE, 24), song)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"region": {"from_s": 1.0, "to_s": 3.5}}, "region.to_s: 3.5 is after the recording's en"),
        ({"region": {"from_s": 2.0, "to_s": 1.0}}, "region.to_s: the region from 2 s to 1 s must"),
        ({"region": None}, "region: mode=repaint needs it"),
        ({"init_audio": wav(noise(0.4))}, "init_audio: the recording lasts 0.400 s, at least 0.5"),
        ({"init_audio": wav(noise(1, 8000, 7), 8000)}, "init_audio: the file has 7 channels; at "),
        ({"init_audio": wav(noise(61, 4000, 1, 16), 4000, 16)}, "init_audio: the audio is longer "),
        ({"init_audio": "bm90IGF1ZGlv"}, "init_audio: not a readable audio file"),
        ({"beats": 8}, "beats: only for mode=img2img or mode=loop, not for mode=repaint; "),
    ],
)
def test_a_bad_request_is_refused_in_one_line(
    fields: dict[str, Any],
    message: str,
    truss_server: LocalTrussServer,
    client: httpx.Client,
    repaint_request: dict[str, Any],
) -> None:
    for stream in (False, True):
        request = {**repaint_request, "stream": stream, **fields}
        answer = client.post(truss_server.predict_url, json=request)
        assert answer.status_code == 400
        (name,) = answer.json()
        assert name == "error"
        assert answer.json()["error"].startswith(message)
        assert "\n" not in answer.json()["error"]


def test_an_edit_stops_when_the_client_leaves(
    gateway_url: str,
    truss_server: LocalTrussServer,
    client: httpx.Client,
    server_log: list[str],
    repaint_request: dict[str, Any],
) -> None:
    wait_for_running_clips(0, client, truss_server)
    before = len(server_log)
    request = {**repaint_request, "num_inference_steps": 150, "stream": True}
    with client.stream("POST", f"{gateway_url}/run_inference/", json=request) as answer:
        assert json.loads(next(answer.iter_lines()))["event"] == "progress"
    wait_for_line(server_log, before, "clip stopped: the client left")
    wait_for_running_clips(0, client, truss_server)


def test_the_page_s_request(gateway_url: str, tmp_path: Path) -> None:
    source = PAGE.read_text(encoding="utf-8")
    (code,) = (
        each
        for each in re.findall(r"```python\n(.*?)```", source, re.DOTALL)
        if "run_inference" in each
    )
    assert "http://127.0.0.1:3013" in code
    code = code.replace("http://127.0.0.1:3013", gateway_url)
    song = noise(4, 22_050, 1, 16)
    write(tmp_path / "song.flac", song, 22_050, 16)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    after = read(tmp_path / "out.flac", 22_050, 16)
    start, stop = 2 * 22_050, round(3.5 * 22_050)
    assert np.array_equal(
        np.delete(after, np.s_[start:stop], 1), np.delete(song, np.s_[start:stop], 1)
    )
    assert not np.array_equal(after, song)
