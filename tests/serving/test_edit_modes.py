"""Modes that edit a recording, on the real server with the embedded checkpoint."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.recordings import Integers, noise_of
from tests.serving.test_predict import data_of, wait_for_line, wait_for_running_clips

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
