"""The model's image on a read-only root, as a user without rights: it answers, and writes to /tmp.

One server for the whole module, started as the manifests of deploy/ start it.
"""

import base64
import errno
import io
import signal
import subprocess
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from riffusion.audio import num_samples
from riffusion.audio.decoding import decode_audio
from riffusion.serving.addresses import PREDICT_PATH, READY_PATH
from tests.deploy.contained_server import contained_server, unnamed_user
from tests.needs import need_own_mounts
from tests.patience import PATIENCE_S, wait_until
from tests.serving.conftest import BUNDLE_DIR, free_port

CLIP: dict[str, Any] = {
    "start": {"prompt": "church bells", "seed": 42},
    "num_inference_steps": 2,
    "seed_image_id": "agile",
    "audio_format": "wav",
}
SAMPLES_PER_CLIP = 512 * 441
NO_RIGHTS = "0000000000000000"


@dataclass(frozen=True)
class Contained:
    """A ready server."""

    process: subprocess.Popen[bytes]
    url: str
    user: int

    @property
    def root(self) -> Path:
        """Its root filesystem."""
        return Path(f"/proc/{self.process.pid}/root")

    def post(self, request: dict[str, Any]) -> httpx.Response:
        url = self.url + PREDICT_PATH
        return httpx.post(url, json=request, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contained]:
    need_own_mounts()
    directory = tmp_path_factory.mktemp("contained")
    (directory / "files").mkdir()
    log, port, user = directory / "log", free_port(), unnamed_user()
    variables = {
        "HOME": "/nonexistent",
        "INFERENCE_SERVER_PORT": str(port),
        "RIFFUSION_REQUIRE_GPU": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with contained_server(BUNDLE_DIR, directory / "files", user, variables, log) as process:
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(url + READY_PATH, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_ready, "the server is ready", poll_s=0.2)
        yield Contained(process, url, user)


def test_it_has_no_rights_and_can_write_nothing_but_its_temporary_folder(
    contained: Contained,
) -> None:
    status = Path(f"/proc/{contained.process.pid}/status").read_text().splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status)}
    assert fields["Uid"] == fields["Gid"] == [str(contained.user)] * 4
    assert fields["Groups"] == []
    assert fields["NoNewPrivs"] == ["1"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert fields[name] == [NO_RIGHTS], name
    for folder in ("", "app", "app/data", "packages", "usr", "etc"):
        with pytest.raises(OSError, match="Read-only") as refused:  # even as root
            (contained.root / folder / "written").touch()
        assert refused.value.errno == errno.EROFS
    assert not (contained.root / "root/.ssh").exists()
    assert not (contained.root / BUNDLE_DIR.relative_to("/") / "pyproject.toml").exists()


def test_it_makes_a_clip(contained: Contained) -> None:
    answer = contained.post(CLIP)
    assert answer.status_code == 200, answer.text
    audio = base64.b64decode(answer.json()["audio"].split(",")[1])
    assert num_samples(decode_audio(audio)) == SAMPLES_PER_CLIP


def test_it_edits_a_recording(contained: Contained) -> None:
    """Another process decodes it, and its samples are in a temporary file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(2 * 88_200))
    recording = base64.b64encode(buffer.getvalue()).decode()
    edit = {**CLIP, "mode": "restyle", "init_audio": recording, "preset": "instant"}
    del edit["seed_image_id"], edit["num_inference_steps"]
    answer = contained.post(edit)
    assert answer.status_code == 200, answer.text
    audio = base64.b64decode(answer.json()["audio"].split(",")[1])
    assert num_samples(decode_audio(audio)) == 88_200


def test_a_request_in_progress_is_answered_after_sigterm(contained: Contained) -> None:
    """The last test: Kubernetes ends the server like this when it takes the pod away."""
    metrics = contained.url + "/metrics/"

    def runs() -> bool:
        shown = httpx.get(metrics, trust_env=False).text
        return "riffusion_live_jobs 1.0" in shown.splitlines()

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(contained.post, {**CLIP, "num_inference_steps": 20})
        wait_until(runs, "the clip is being made")
        contained.process.send_signal(signal.SIGTERM)
        assert answer.result(PATIENCE_S).status_code == 200
    assert contained.process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
