"""A cluster that asks for a token, as `ray start` makes one where there is a token."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.recordings import SMALL_OPTIONS, contents, sweep, write
from tests.needs import ROOT, need_ray_data
from tests.patience import PATIENCE_S, wait_until
from tests.ray_cluster.small_nodes import PATIENT, STORE_BYTES
from tests.serving.conftest import free_port

TOKEN = uuid.UUID(int=1).hex


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Without the token that this machine may have."""
    others = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    found = {"HOME": str(home), "PYTHONPATH": os.pathsep.join([str(ROOT / "packages"), str(ROOT)])}
    return others | PATIENT | found | variables


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a head that knows the token by a file."""
    need_ray_data()
    folder = tmp_path_factory.mktemp("head")
    (folder / ".ray").mkdir()
    (folder / ".ray/auth_token").write_text(TOKEN)
    port = free_port()
    size = ["--num-cpus", "1", "--object-store-memory", str(STORE_BYTES)]
    ports = ["--port", str(port), "--ray-client-server-port", str(free_port())]
    ray_command = Path(sys.executable).with_name("ray")
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            [ray_command, "start", "--head", *ports, *size, "--include-dashboard=false", "--block"],
            env=environment(folder),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: "Ray runtime started" in (folder / "log").read_text(), "no head", 0.5)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(PATIENCE_S)


def build(songs: Path, out: Path, env: dict[str, str], *options: str) -> str:
    """Build a data set; what it prints to standard error."""
    command = [sys.executable, "-m", "riffusion", "dataset", "build", str(songs), "-o", str(out)]
    done = subprocess.run(
        [*command, *SMALL_OPTIONS, *options], env=env, capture_output=True, text=True
    )
    assert (done.returncode == 0) == out.exists(), done.stderr
    return done.stderr


def test_a_cluster_with_a_token_is_used_by_those_who_have_it(address: str, tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    write(songs / "song.wav", sweep(1.5))
    build(songs, tmp_path / "here", environment(tmp_path), "--processes", "1")
    build(songs, tmp_path / "ray", environment(tmp_path, **token), "--ray", address)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here") != {}


def test_without_its_token_one_line_says_so(address: str, tmp_path: Path) -> None:
    write(tmp_path / "songs/song.wav", sweep(1))
    printed = build(tmp_path / "songs", tmp_path / "out", environment(tmp_path), "--ray", address)
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what `ray get-auth-token`" in errors[0]
