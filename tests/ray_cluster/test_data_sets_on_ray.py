"""`dataset build --ray` and `dataset synthesize --ray`: the same bytes as here, whoever dies."""

import os
import secrets
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riffusion.cli import main
from riffusion.runtime import cluster
from tests.corpora.sine_soundfont import write_sine_soundfont
from tests.datasets.recordings import SMALL_OPTIONS, contents, sweep, write
from tests.needs import FLUIDSYNTH, ROOT, need, need_ray_data
from tests.ray_cluster.small_nodes import PATIENT, STORE_BYTES
from tests.serving.conftest import free_port

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own
NUM_SONGS = 6
HOOK = """
    import os, signal
    from pathlib import Path
    import riffusion.io.files as files

    folder = Path(__file__).parent
    write_file = files.write_file

    def write_and_die(data, path):
        import ray
        write_file(data, path)
        (folder / ("node-" + ray.get_runtime_context().get_node_id())).touch()
        if path.suffix == ".png":
            try:
                (folder / "died").touch(exist_ok=False)
            except FileExistsError:
                return
            path.with_name(".0123456789abcdef.tmp").touch()  # it was writing the next one
            os.kill(os.getpid(), signal.SIGKILL)

    files.write_file = write_and_die
"""
"""A worker runs this at its start. The first one that has written an image kills itself."""
POISON = """
    import os, signal
    import riffusion.io.files as files

    files.write_file = lambda data, path: os.kill(os.getpid(), signal.SIGKILL)
"""
"""As does each worker with this."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two nodes with a processor each."""
    need_ray_data()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        yield from _two_nodes()


def _two_nodes() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    options = {"object_store_memory": STORE_BYTES, "num_cpus": 1}
    session = f"session_{secrets.token_hex(8)}"
    nodes = Cluster()
    try:
        head = {"session_name": session, "include_dashboard": False, "no_monitor": True}
        nodes.add_node(**options, **head, **_known_ports(session))
        nodes.add_node(**options, **_known_ports(session))
        yield nodes.address
    finally:
        nodes.shutdown()


def _known_ports(session: str) -> dict[str, Any]:
    """Options of a node whose agents' ports are known before the agents run.

    A node ends itself if its agents don't write their ports to files within 15 s, which on a busy
    machine they don't.
    """
    import ray
    from ray._common.utils import get_default_ray_temp_dir
    from ray._raylet import get_port_filename

    node_id = ray.NodeID.from_random().hex()
    folder = Path(get_default_ray_temp_dir(), session)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"env_vars": {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id}}
    for agent in ("metrics_agent", "metrics_export", "runtime_env_agent", "dashboard_agent_listen"):
        port = free_port()
        found[f"{agent}_port"] = port
        (folder / get_port_filename(node_id, f"{agent}_port")).write_text(str(port))
    return found


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which workers leave their marks; the first to write an image dies."""
    folder = tmp_path / "marks"
    run_at_start(HOOK, folder, monkeypatch)
    return folder


def run_at_start(hook: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run `hook` at their start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(hook))
    inherited = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT), *inherited]))


def assert_one_died_of_two_nodes(marks: Path) -> None:
    assert (marks / "died").exists()
    assert len(list(marks.glob("node-*"))) == 2


def test_a_build_equals_a_local_one_though_a_worker_is_killed(
    address: str, deadly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = tmp_path / "songs"
    for number in range(NUM_SONGS):
        write(songs / f"song {number}.wav", sweep(1 + 0.2 * number))
    (songs / "broken.wav").write_bytes(b"RIFF, but no sound")
    outputs, lines = [], []
    for where, options in (("here", ["--processes", "1"]), ("ray", ["--ray", address])):
        out = tmp_path / where
        status = main(["dataset", "build", str(songs), "-o", str(out), *SMALL_OPTIONS, *options])
        assert status == 2  # the broken one
        printed = capsys.readouterr()
        lines.append(printed.out.replace(str(out), "OUT"))
        assert "broken.wav" in printed.err
        outputs.append(contents(out))
    assert lines[1].endswith(lines[0])  # before that, Ray says that a worker died
    assert outputs[0] == outputs[1]
    assert sum(name.endswith(".png") for name in outputs[0]) > 2 * NUM_SONGS
    assert_one_died_of_two_nodes(deadly)


def test_a_corpus_equals_a_local_one_though_a_worker_is_killed(
    address: str, deadly: Path, tmp_path: Path
) -> None:
    need(FLUIDSYNTH)
    soundfont = tmp_path / "sine.sf2"
    write_sine_soundfont(soundfont, [(0, 73)])
    options = ["--sounds", "flute", "--clips-per-sound", "18", "--no-scores"]
    command = ["dataset", "synthesize", *options, "--soundfont", str(soundfont)]
    assert main([*command, str(tmp_path / "here"), "--processes", "1"]) == 0
    assert main([*command, str(tmp_path / "ray"), "--ray", address]) == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
    assert_one_died_of_two_nodes(deadly)


def test_a_recording_that_kills_every_worker_ends_the_build(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cluster, "_MAX_RETRIES", 1)
    run_at_start(POISON, tmp_path / "marks", monkeypatch)
    write(tmp_path / "songs/song.wav", sweep(1))
    command = [
        "dataset",
        "build",
        str(tmp_path / "songs"),
        "-o",
        str(tmp_path / "out"),
        *SMALL_OPTIONS,
    ]
    assert main([*command, "--ray", address]) != 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "the Ray cluster cannot do this (" in lines[0]
