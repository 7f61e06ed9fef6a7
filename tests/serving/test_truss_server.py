"""Starting and stopping servers, with a bundle that starts within a second."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from riffusion.errors import InputError, ServerError
from riffusion.serving.local.gateway_process import GatewaySettings
from riffusion.serving.local.gateway_process import run as run_gateway
from riffusion.serving.local.serve import serve
from riffusion.serving.local.truss_server import LocalTrussServer, find_bundle
from tests.patience import PATIENCE_S, wait_until
from tests.serving.conftest import BUNDLE_DIR, free_port, write_mini_bundle

SLOW_MODEL = """
class Model:
    def load(self):
        pass

    def predict(self, inputs):
        import pathlib
        import time
        pathlib.Path(inputs["started"]).touch()
        while not pathlib.Path(inputs["release"]).exists():
            time.sleep(0.01)
        return inputs
"""


def post(url: str, request: dict[str, object]) -> httpx.Response:
    return httpx.post(url, json=request, timeout=PATIENCE_S, trust_env=False)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_runs_inside_the_context_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bundle = write_mini_bundle(tmp_path / "bundle")
    port = free_port()
    with LocalTrussServer(bundle, port=port) as server:
        assert post(server.predict_url, {"a": 1}).json() == {"a": 1}
        assert list(tmp_path.glob("riffusion-server-*"))
        others = [
            own
            for own in socket.gethostbyname_ex(socket.gethostname())[2]
            if not own.startswith("127.")
        ]
        for address in others:  # Truss itself listens on 0.0.0.0
            with socket.socket() as probe:
                assert probe.connect_ex((address, port)) != 0
        pid = server.pid
    assert not is_listening(port)
    assert not list(tmp_path.glob("riffusion-server-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_a_port_in_use_is_an_error_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port={port}.*choose another"):
            LocalTrussServer(tmp_path, port=port).start()  # not the error that it is no bundle


def test_a_model_that_does_not_load_is_an_error_with_the_end_of_the_log(tmp_path: Path) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle", load="raise OSError('weights are gone')")
    home = {path.name for path in Path.home().iterdir()}
    with pytest.raises(ServerError, match="weights are gone"):
        LocalTrussServer(bundle, port=free_port()).start()
    assert {path.name for path in Path.home().iterdir()} == home  # no crash marker


def test_a_server_has_a_home_of_its_own_and_the_user_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    load = "from riffusion.io.folders import user_cache_dir as u; print('cache', u(), flush=True)"
    bundle = write_mini_bundle(tmp_path / "bundle", load=load)
    log: list[str] = []
    with LocalTrussServer(bundle, port=free_port(), on_log_line=log.append):
        wait_until(lambda: "cache /" in "".join(log), "the model's line is in the log")
    assert f"cache {Path.home() / '.cache/riffusion'}" in "".join(log)


def test_a_server_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle", load="import time; time.sleep(60)")
    server = LocalTrussServer(bundle, port=free_port(), startup_timeout_s=1, stop_timeout_s=0.2)
    with pytest.raises(ServerError, match="not ready after 1 s"):
        server.start()
    assert server.pid is None


def test_the_bundle_is_found_from_inside_or_its_absence_explained(tmp_path: Path) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle")
    (bundle / "deep/er").mkdir(parents=True)
    assert find_bundle(bundle / "deep/er") == bundle
    assert find_bundle(Path(__file__)) == BUNDLE_DIR
    with pytest.raises(ServerError, match=r"no Truss bundle.*clone of the repository"):
        find_bundle(Path("/"))


def run_serve(bundle: Path, *options: str) -> tuple[subprocess.Popen[str], int, int]:
    """Start `serve` as a process in `bundle`, and wait until it has announced its gateway."""
    port, gateway_port = free_port(), free_port()
    code = f"""
from riffusion.serving.local.serve import serve
serve(port={port}, gateway_port={gateway_port}, announce=lambda line: print(line, flush=True))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=bundle,
        env={**os.environ, "TMPDIR": str(bundle.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = list(itertools.takewhile(lambda line: "/docs" not in line, process.stdout))
    assert process.poll() is None and is_listening(gateway_port), "".join(lines)
    return process, port, gateway_port


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_serve_finishes_requests_in_progress_and_stops_both_servers(
    kind: signal.Signals, tmp_path: Path
) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle")
    (bundle / "model/model.py").write_text(SLOW_MODEL)
    process, port, gateway_port = run_serve(bundle)
    started = tmp_path / "started"
    release = tmp_path / "release"
    request: dict[str, object] = {"started": str(started), "release": str(release)}
    answers: list[httpx.Response] = []
    url = f"http://127.0.0.1:{gateway_port}/run_inference/"
    asking = threading.Thread(target=lambda: answers.append(post(url, request)))
    asking.start()
    wait_until(started.exists, "the model has not started")
    process.send_signal(kind)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(line == "stopping …\n" for line in lines), "it has not noticed the signal"
    release.touch()
    output, _ = process.communicate(timeout=PATIENCE_S)
    asking.join()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert (answers[0].status_code, answers[0].json()) == (200, request)
    assert not is_listening(port)
    assert not is_listening(gateway_port)


MORTAL_MODEL = """
import os
class Model:
    def predict(self, inputs):
        if inputs.get("die"):
            os._exit(3)
        return inputs
"""


def stop(process: subprocess.Popen[str]) -> str:
    """End `serve` as a user does; what it has printed."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


def test_a_truss_server_that_ends_is_started_again(tmp_path: Path) -> None:
    bundle = write_mini_bundle(tmp_path / "bundle")
    (bundle / "model/model.py").write_text(MORTAL_MODEL)
    process, _, gateway_port = run_serve(bundle)
    url = f"http://127.0.0.1:{gateway_port}/run_inference/"
    for _ in range(2):
        lost = post(url, {"die": True})
        assert lost.status_code == 502
        assert "endpoint" in lost.json()["error"]
        wait_until(lambda: post(url, {"a": 1}).status_code == 200, "it is not started again")
        assert post(url, {"a": 1}).json() == {"a": 1}
    stop(process)


def test_a_gateway_that_is_killed_is_started_again(tmp_path: Path) -> None:
    process, _, gateway_port = run_serve(write_mini_bundle(tmp_path / "bundle"))
    url = f"http://127.0.0.1:{gateway_port}/run_inference/"
    (gateway,) = [
        child
        for child in psutil.Process(process.pid).children()
        if "riffusion.serving.local.gateway_process" in child.cmdline()
    ]
    gateway.kill()
    gateway.wait(PATIENCE_S)

    def is_answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return post(url, {"a": 1}).json() == {"a": 1}
        return False

    wait_until(is_answered, "it is not started again")
    stop(process)
    assert not is_listening(gateway_port)


def test_a_gateway_whose_event_loop_fails_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread ends, for example without file descriptors; the process must not remain."""

    def run_a_little(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        server.started = True
        raise RuntimeError("the event loop has failed")

    monkeypatch.setattr(uvicorn.Server, "run", run_a_little)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    settings = GatewaySettings(
        host="127.0.0.1",
        port=free_port(),
        endpoint="http://127.0.0.1:9",
        timeout_s=1.0,
        retry_budget_s=0.0,
        allowed_origins=(),
        trusted_proxies=(),
        app_dir=None,
        checkpoint_dir=None,
        max_per_minute=0,
        max_at_once=0,
    )
    with pytest.raises(ServerError, match="gateway has ended"):
        run_gateway(settings)


@pytest.mark.parametrize("gateway", [True, False])
def test_other_machines_reach_the_truss_server_through_the_gateway_only(
    gateway: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the gateway's limits could be avoided."""
    hosts: dict[str, str] = {}

    class Truss:
        predict_url = "http://127.0.0.1:1/v1/models/model:predict"

        def __init__(self, host: str, **_: object) -> None:
            hosts["truss"] = host

    class Gateway:
        base_url = "http://192.0.2.1:3013"

        def __init__(self, settings: GatewaySettings, **_: object) -> None:
            hosts["gateway"] = settings.host

    class NoSupervisor:
        def __init__(self, _: object) -> None:
            pass

        def check(self) -> None:
            raise KeyboardInterrupt

        def __enter__(self) -> "NoSupervisor":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("riffusion.serving.local.serve.LocalTrussServer", Truss)
    monkeypatch.setattr("riffusion.serving.local.serve.GatewayProcess", Gateway)
    monkeypatch.setattr("riffusion.serving.local.serve.Supervisor", NoSupervisor)
    serve(host="192.0.2.1", gateway=gateway)
    expected = {"truss": "127.0.0.1", "gateway": "192.0.2.1"} if gateway else {"truss": "192.0.2.1"}
    assert hosts == expected


def test_no_server_is_left_behind_when_its_parent_is_killed(tmp_path: Path) -> None:
    process, port, gateway_port = run_serve(write_mini_bundle(tmp_path / "bundle"))
    process.kill()
    process.communicate()
    wait_until(lambda: not is_listening(port), "the server outlived its parent")
    wait_until(lambda: not is_listening(gateway_port), "the gateway outlived its parent")
    wait_until(
        lambda: not list(tmp_path.glob("riffusion-server-*")), "its directory is still there"
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"app_dir": Path("no/such/folder")}, "app_dir"),
        ({"allowed_origins": ("foo",)}, "allowed_origin"),
        ({"trusted_proxies": ("foo",)}, "trusted_proxy"),
    ],
)
def test_serve_refuses_wrong_options_before_it_starts_anything(
    options: dict[str, Any], field: str
) -> None:
    announced: list[str] = []
    with pytest.raises(InputError) as caught:
        serve(endpoint="http://127.0.0.1:9", announce=announced.append, **options)
    assert caught.value.field == field
    assert announced == []
