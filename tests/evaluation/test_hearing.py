"""Listening to clips: remembered clips, damaged and unwritable caches, and the quick command."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import riffusion
from riffusion.audio import Waveform
from riffusion.evaluation import disk_cache
from riffusion.evaluation.audio import audio_key
from riffusion.evaluation.disk_cache import DiskCache, default_cache_dir
from riffusion.evaluation.metrics import hearing
from riffusion.evaluation.metrics.hearing import Clip, HeardClips, Listener
from riffusion.evaluation.tagger import Tagger
from tests.corpora.small_corpus import PARAMS
from tests.evaluation.evaluate_runs import QUICK, command

SAMPLE_RATE = 22_050
PITCHES_HZ = (220.0, 330.0, 550.0)


def tone(pitch_hz: float) -> Waveform:
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    partials = sum(np.sin(2 * np.pi * k * pitch_hz * seconds) / k for k in range(1, 8))
    return np.asarray(0.3 * partials, np.float32)[None]


def clips(keys: bool = True) -> list[Clip]:
    return [
        Clip("tone", functools.partial(tone, pitch), f"{pitch:g} Hz" if keys else None)
        for pitch in PITCHES_HZ
    ]


def listener(folder: Path | None, tagger: str = "magnatagatune") -> Listener:
    return Listener(Tagger.load(tagger), SAMPLE_RATE, DiskCache(folder))


def same(one: HeardClips, other: HeardClips) -> bool:
    return (
        np.array_equal(one.tags, other.tags)
        and np.array_equal(one.features, other.features)
        and one.harmonicity == other.harmonicity
    )


def test_what_was_heard_is_remembered_exactly(tmp_path: Path) -> None:
    expected = listener(None).listen(clips(), {"tone"})
    first = listener(tmp_path)
    assert same(first.listen(clips(), {"tone"}), expected)
    assert first.cache.num_computed == 2 * len(PITCHES_HZ)  # tags and harmonicity
    second = listener(tmp_path)
    assert same(second.listen(clips(), {"tone"}), expected)
    assert second.cache.num_computed == 0
    assert all(each is not None and each.share > 0.9 for each in expected.harmonicity)


def test_audio_without_a_key_is_not_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    listener(folder).listen(clips(keys=False), {"tone"})
    assert not folder.exists()


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    listener(tmp_path).listen(clips(), ())
    with_pitch = listener(tmp_path)
    with_pitch.listen(clips(), {"tone"})
    assert with_pitch.cache.num_computed == len(PITCHES_HZ)
    other_tagger = listener(tmp_path, "million-song")
    heard = other_tagger.listen(clips(), {"tone"})
    assert other_tagger.cache.num_computed == len(PITCHES_HZ)
    assert same(heard, listener(None, "million-song").listen(clips(), {"tone"}))
    other_rate = replace(listener(tmp_path), sample_rate=SAMPLE_RATE // 2)
    other_rate.listen(clips(), ())
    assert other_rate.cache.num_computed == len(PITCHES_HZ)


def test_every_part_of_the_code_that_decides_is_there() -> None:
    package = Path(riffusion.__file__).parent
    assert all((package / name).exists() for name in disk_cache._CODE)


def test_other_code_computes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener(tmp_path).listen(clips(), ())
    monkeypatch.setattr(disk_cache, "_fingerprint", lambda: "the code of tomorrow")
    again = listener(tmp_path)
    again.listen(clips(), ())
    assert again.cache.num_computed == len(PITCHES_HZ)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HeardClips]:
    """A folder of what was heard of the clips, and that itself; tests must not change it."""
    folder = tmp_path_factory.mktemp("entries")
    return folder, listener(folder).listen(clips(), {"tone"})


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "text", "changed"])
def test_damaged_entries_are_computed_again(
    damage: str, heard: tuple[Path, HeardClips], tmp_path: Path
) -> None:
    folder, expected = heard
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        middle = len(data) // 2
        damaged = {
            "empty": b"",
            "cut": data[:middle],
            "zeros": bytes(len(data)),
            "text": b"no arrays",
            "changed": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        }
        path.write_bytes(damaged[damage])
    repaired = listener(tmp_path)
    assert same(repaired.listen(clips(), {"tone"}), expected)
    assert repaired.cache.num_computed == 2 * len(PITCHES_HZ)
    healthy = listener(tmp_path)
    healthy.listen(clips(), {"tone"})
    assert healthy.cache.num_computed == 0


def test_no_changed_byte_is_read_as_other_numbers(tmp_path: Path) -> None:
    arrays = {"tags": np.linspace(0, 1, 5), "features": np.linspace(-1, 1, 7, dtype=np.float32)}
    DiskCache(tmp_path).get("key", lambda: arrays)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    for position in range(len(data)):
        for change in (1, 8, 255):
            damaged = bytes([data[position] ^ change])
            path.write_bytes(data[:position] + damaged + data[position + 1 :])
            found = DiskCache(tmp_path).get("key", lambda: arrays)
            assert found.keys() == arrays.keys(), position
            assert all(np.array_equal(found[name], arrays[name]) for name in arrays), position


class _GivenUp(DiskCache):
    """A cache whose folder another thread gives up right after it was looked at."""

    @property
    def _directory(self) -> Path | None:
        folder, self._folder = self._folder, None
        return folder

    @_directory.setter
    def _directory(self, folder: Path | None) -> None:
        self._folder = folder


def test_another_thread_may_give_the_folder_up(tmp_path: Path) -> None:
    arrays = {"tags": np.ones(3)}
    assert _GivenUp(tmp_path).get("key", lambda: arrays) is arrays


def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    heard = listener(tmp_path / "file" / "cache").listen(clips(), {"tone"})
    assert same(heard, listener(None).listen(clips(), {"tone"}))
    assert len(caplog.messages) == 1
    assert "file/cache' cannot be written" in caplog.messages[0]


def test_the_number_of_processors_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    for count in (1, 3):
        monkeypatch.setattr(hearing, "num_usable_cpus", lambda count=count: count)
        heard.append(listener(None).listen(clips(), {"tone"}))
    assert same(*heard)


def test_audio_keys_are_those_of_equal_planes_and_parameters() -> None:
    plane = np.arange(64, dtype=np.uint8).reshape(8, 8)
    key = audio_key(plane, PARAMS)
    assert audio_key(plane.copy(), PARAMS) == key
    assert audio_key(np.asfortranarray(plane), PARAMS) == key
    others = {
        audio_key(plane + 1, PARAMS),
        audio_key(plane.reshape(4, 16), PARAMS),
        audio_key(plane.T, PARAMS),
        audio_key(plane, replace(PARAMS, step_size_ms=PARAMS.step_size_ms + 1)),
    }
    assert len(others | {key}) == 5


def test_the_cache_is_in_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg/riffusion/heard"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache/riffusion/heard"


def test_listening_alone_is_a_quick_report_that_uses_the_cache(
    corpus: Path, checkpoint: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    options = ("--dataset", corpus, *QUICK, "--parts", "listening", "--cache", cache)
    found = []
    for name in ("first", "second"):
        assert command(checkpoint, *options, "-o", tmp_path / name) == 0
        found.append(json.loads((tmp_path / name / "report.json").read_text()))
        assert found[-1]["classifier"] is None
        assert not (tmp_path / name / "classifier").exists()
        page = (tmp_path / name / "report.md").read_text(encoding="utf-8")
        assert "Heard by an independent tagger" in page and "Prompt adherence" not in page
        assert "sheet_labels_1.png" in page
        entries = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
        if name == "first":
            written = entries
    assert found[0]["listening"] == found[1]["listening"] == report["listening"]
    assert entries == written


def test_missing_weights_are_one_line(
    corpus: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from riffusion.evaluation.tagger import tagger

    monkeypatch.setattr(tagger, "DISTRIBUTION", "musicnn-that-is-missing")
    options = ("--dataset", corpus, *QUICK, "--parts", "listening", "--cache", tmp_path / "cache")
    assert command(checkpoint, *options, "-o", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "weights aren't installed" in line and "leave `listening` out of --parts" in line
    options = (*options[:-4], "--parts", "listening", "--tagger", "ears")
    assert command(checkpoint, *options, "-o", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: --tagger: 'ears' must be one of magnatagatune, ")
