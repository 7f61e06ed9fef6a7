"""Audio that is made to harm the server: each file harms its own request, and no other."""

import base64
import io
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
import soundfile

from riffusion.audio import encode_audio, segment_from_waveform
from riffusion.serving.local.truss_server import LocalTrussServer
from tests.audio.audio_signals import chord
from tests.audio.hostile_audio import empty_frames, silent_flac
from tests.patience import PATIENCE_S, wait_until


def loud_wav(peak: float) -> bytes:
    """A WAV file of floats, with a peak beyond full scale."""
    buffer = io.BytesIO()
    samples = chord(22_050, 44_100)[0]
    soundfile.write(buffer, samples / abs(samples).max() * peak, 44_100, "FLOAT", format="WAV")
    return buffer.getvalue()


def post(server: LocalTrussServer, audio: bytes, **fields: Any) -> httpx.Response:
    request = {
        "start": {"prompt": "bells", "seed": 1, "denoising": 0.5},
        "num_inference_steps": 2,
        "init_audio": base64.b64encode(audio).decode(),
        **fields,
    }
    return httpx.post(server.predict_url, json=request, timeout=PATIENCE_S, trust_env=False)


def decoders(server: LocalTrussServer) -> list[psutil.Process]:
    assert server.pid is not None
    return [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        and "riffusion.audio.decoding_worker" in child.cmdline()
    ]


def busy_decoder(
    server: LocalTrussServer, since: dict[int, float], request: Future[httpx.Response]
) -> psutil.Process:
    """The process that has decoded a request's file for half a second of processor time."""
    found: list[psutil.Process] = []

    def is_found() -> bool:
        assert not request.done(), request.result().text
        found[:] = [
            child
            for child in decoders(server)
            if child.cpu_times().user > since.get(child.pid, 0.5) + 0.5
        ]
        return bool(found)

    wait_until(is_found, "no process decodes")
    return found[0]


def times(server: LocalTrussServer) -> dict[int, float]:
    return {child.pid: child.cpu_times().user for child in decoders(server)}


@pytest.fixture(scope="module")
def recording() -> bytes:
    return encode_audio(segment_from_waveform(chord(22_050, 44_100, 2), 44_100), "mp3")


def test_a_decoder_waits_when_the_server_is_ready(truss_server: LocalTrussServer) -> None:
    assert decoders(truss_server)


def test_a_file_that_takes_too_long_is_refused_and_others_are_served_meanwhile(
    truss_server: LocalTrussServer, recording: bytes
) -> None:
    since = times(truss_server)
    with ThreadPoolExecutor() as threads:
        hostile = threads.submit(post, truss_server, empty_frames())
        busy_decoder(
            truss_server, since, hostile
        ).suspend()  # now it hangs, however fast the machine is
        ordinary = post(truss_server, recording)
        assert ordinary.status_code == 200, ordinary.text
        refused = hostile.result(PATIENCE_S)
    assert refused.status_code == 400
    assert "init_audio: decoding it takes longer than 10 s, the limit; convert it" in refused.text
    assert post(truss_server, recording).json() == ordinary.json()


def test_a_file_that_kills_its_decoder_is_refused_and_the_next_one_is_served(
    truss_server: LocalTrussServer, recording: bytes
) -> None:
    since = times(truss_server)
    with ThreadPoolExecutor() as threads:
        hostile = threads.submit(post, truss_server, empty_frames())
        os.kill(busy_decoder(truss_server, since, hostile).pid, signal.SIGKILL)
        refused = hostile.result(PATIENCE_S)
    assert refused.status_code == 400
    assert "init_audio: the decoder ended while it read the file (SIGKILL)" in refused.text
    answer = post(truss_server, recording)
    assert answer.status_code == 200, answer.text


def test_a_deadline_also_ends_the_waiting_for_a_decoder(
    truss_server: LocalTrussServer, recording: bytes
) -> None:
    late = post(truss_server, empty_frames(), deadline_s=0.5)
    assert late.status_code == 504
    assert "deadline_s=0.5" in late.text
    answer = post(truss_server, recording)
    assert answer.status_code == 200, answer.text


def test_a_small_file_with_much_audio_is_refused(truss_server: LocalTrussServer) -> None:
    file = silent_flac(45, 192_000, "7.1")
    assert len(file) < 20_000
    refused = post(truss_server, file)
    assert refused.status_code == 400
    assert "init_audio: the audio is longer than 43.69" in refused.text


def test_warnings_of_the_decoder_are_in_the_servers_log(
    truss_server: LocalTrussServer, server_log: list[str]
) -> None:
    start = len(server_log)
    assert post(truss_server, loud_wav(4.0)).status_code == 200
    wait_until(
        lambda: any(
            "float samples up to 4 times full scale" in line for line in server_log[start:]
        ),
        "no warning in the log",
    )


def test_the_server_stays_healthy(truss_server: LocalTrussServer) -> None:
    ready = truss_server.predict_url.removesuffix(":predict")
    assert httpx.get(ready, timeout=PATIENCE_S, trust_env=False).status_code == 200
