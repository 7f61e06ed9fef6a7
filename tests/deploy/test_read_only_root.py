"""The images' commands on a read-only root, as a user without rights: they write to /tmp alone.

One model and one gateway for the whole module, started with the manifests' variables and arguments.
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
from riffusion.serving.addresses import PREDICT_PATH, READY_PATH, RUN_INFERENCE_PATH
from riffusion.serving.local.bundle_context import build_context
from tests.deploy.contained import IMAGE_ENTRY, contained, unnamed_user
from tests.deploy.manifests import deployment, environment, image_arguments
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
class Server:
    """A ready server."""

    process: subprocess.Popen[bytes]
    url: str
    user: int

    @property
    def root(self) -> Path:
        """Its root filesystem."""
        return Path(f"/proc/{self.process.pid}/root")

    def post(self, path: str, request: dict[str, Any]) -> httpx.Response:
        return httpx.post(self.url + path, json=request, timeout=PATIENCE_S, trust_env=False)


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "the server is ready", poll_s=0.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model's image with the variables of the demo on CPUs."""
    need_own_mounts()
    directory = tmp_path_factory.mktemp("model")
    build_context(BUNDLE_DIR, directory)
    files = {"/app": directory / "app", "/packages": directory / "context/packages"}
    port, user, root = free_port(), unnamed_user(), directory / "root"
    of_the_manifest = environment(deployment("model", "cpu-demo")[1])
    variables = {
        **of_the_manifest,
        "INFERENCE_SERVER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    with contained([IMAGE_ENTRY], files, "/app", user, variables, root) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(process, url + READY_PATH, root.with_suffix(".log"))
        yield Server(process, url, user)


@pytest.fixture(scope="module")
def gateway(model: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway's image, in front of the model, with a page instead of the built web app."""
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "web").mkdir()
    (directory / "web/index.html").write_text("<title>Riffusion</title>")
    place = "/opt/riffusion"
    files = {
        f"{place}/packages": BUNDLE_DIR / "packages",
        f"{place}/data/seed_images": BUNDLE_DIR / "data/seed_images",
        f"{place}/data/masks": BUNDLE_DIR / "data/masks",
        f"{place}/web": directory / "web",
    }
    _, container = deployment("gateway")
    port, user, root = free_port(), unnamed_user(), directory / "root"
    arguments = ["-m", "riffusion", "serve", *image_arguments(), *container["args"]]
    arguments += [f"--gateway-port={port}", f"--endpoint={model.url}"]  # the last ones count
    variables = {"PYTHONPATH": f"{place}/packages", **environment(container)}
    with contained(arguments, files, place, user, variables, root) as process:
        url = f"http://127.0.0.1:{port}"
        path = container["readinessProbe"]["httpGet"]["path"]
        wait_for(process, url + path, root.with_suffix(".log"))
        yield Server(process, url, user)


@pytest.mark.parametrize("name", ["model", "gateway"])
def test_it_has_no_rights_and_can_write_nothing_but_its_temporary_folder(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in status)}
    assert fields["Uid"] == fields["Gid"] == [str(server.user)] * 4
    assert fields["Groups"] == []
    assert fields["NoNewPrivs"] == ["1"]
    for right in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert fields[right] == [NO_RIGHTS], right
    own = {"model": ("app", "app/data", "packages"), "gateway": ("opt/riffusion", "opt")}
    for folder in ("", "usr", "etc", "var/tmp", *own[name]):
        with pytest.raises(OSError, match="Read-only") as refused:  # even as root
            (server.root / folder / "written").touch()
        assert refused.value.errno == errno.EROFS
    assert not (server.root / BUNDLE_DIR.relative_to("/") / "pyproject.toml").exists()


def test_it_makes_a_clip(model: Server) -> None:
    answer = model.post(PREDICT_PATH, CLIP)
    assert answer.status_code == 200, answer.text
    audio = base64.b64decode(answer.json()["audio"].split(",")[1])
    assert num_samples(decode_audio(audio)) == SAMPLES_PER_CLIP


def test_it_edits_a_recording(model: Server) -> None:
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
    answer = model.post(PREDICT_PATH, edit)
    assert answer.status_code == 200, answer.text
    audio = base64.b64decode(answer.json()["audio"].split(",")[1])
    assert num_samples(decode_audio(audio)) == 88_200


def test_the_gateway_serves_clips_images_and_pages(gateway: Server) -> None:
    answer = gateway.post(RUN_INFERENCE_PATH + "/", CLIP)
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_s"] == pytest.approx(5.12)
    for path, kind in (("/", "text/html"), ("/seed_images/og_beat.png", "image/png")):
        found = httpx.get(gateway.url + path, trust_env=False)
        assert (found.status_code, found.headers["content-type"].split(";")[0]) == (200, kind)


def test_a_request_in_progress_is_answered_after_sigterm(model: Server) -> None:
    """The last test: Kubernetes ends the server like this when it takes the pod away."""
    metrics = model.url + "/metrics/"

    def runs() -> bool:
        shown = httpx.get(metrics, trust_env=False).text
        return "riffusion_live_jobs 1.0" in shown.splitlines()

    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(model.post, PREDICT_PATH, {**CLIP, "num_inference_steps": 8})
        wait_until(runs, "the clip is being made")
        model.process.send_signal(signal.SIGTERM)
        assert answer.result(PATIENCE_S).status_code == 200
    assert model.process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
