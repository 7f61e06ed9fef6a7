"""The option `--ray [ADDRESS]`: how it is read, and addresses where no cluster is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from riffusion.cli import main, ray_option
from tests.datasets.recordings import SMALL_OPTIONS, sweep, write
from tests.serving.conftest import free_port


class ThisProcess:
    """In place of a cluster; it repeats each call, as a cluster may."""

    def results(self, prepare: Any, arguments: Any, call: Any, items: Any) -> Iterator[Any]:
        state = prepare(*arguments)
        for number, item in enumerate(items):
            call(state, item)
            yield number, call(state, item)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--ray"], ("auto", None)),
        (["--ray", "--limit", "1"], ("auto", None)),
        (["--ray", "head:6379", "--processes", "3"], ("head:6379", 3)),
        (["--ray=[::1]:6379"], ("[::1]:6379", None)),
    ],
)
def test_the_address_may_be_left_out(
    options: list[str],
    expected: tuple[str, int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a build on a cluster has the same images, since it runs the same function."""
    found: list[tuple[str, int | None]] = []

    @contextmanager
    def cluster(
        address: str, processes: int | None, import_from: Sequence[Path]
    ) -> Iterator[ThisProcess]:
        found.append((address, processes))
        yield ThisProcess()

    monkeypatch.setattr(ray_option, "ray_cluster", cluster)
    write(tmp_path / "in/a.wav", sweep(1.3))
    command = ["dataset", "build", str(tmp_path / "in"), *SMALL_OPTIONS, "-o"]
    assert main([*command, str(tmp_path / "ray"), *options]) == 0
    assert found == [expected]
    assert main([*command, str(tmp_path / "here"), "--processes", "1"]) == 0
    images = [
        {path.name: path.read_bytes() for path in (tmp_path / where).rglob("*.png")}
        for where in ("ray", "here")
    ]
    assert images[0] == images[1] != {}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("head", "--ray: 'head' is not the address of a Ray cluster; use HOST:PORT, such as 10.0."),
        ("head:0", "--ray: 'head:0' is not the address"),
        ("ray://head:10001", "--ray: 'ray://head:10001' is an address for Ray's clients, through"),
        ("127.0.0.1:{}", " (Connection refused); start a Ray cluster with `ray start"),
        ("no.invalid:6379", "--ray: nothing listens at 'no.invalid:6379' ("),
    ],
)
def test_an_address_without_a_cluster_is_one_line(
    address: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in/a.wav", sweep(1.3))
    address = address.replace("{}", str(free_port()))
    command = ["dataset", "build", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main([*command, "--ray", address]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_argument_after_the_option_is_not_taken_for_an_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the argument would be missing, and nothing would say why."""
    assert main(["dataset", "synthesize", "--ray", str(tmp_path / "corpus")]) == 2
    assert "corpus' is not the address of a Ray cluster; use" in capsys.readouterr().err
