"""`riffusion batch`: jobs in files of each format, resuming, and jobs that fail."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riffusion.audio import read_audio, segment_from_waveform, write_audio
from riffusion.cli.jobs_file import read_jobs
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.pipelines import EngineName
from tests.cli.conftest import Run, WriteRecording
from tests.corpora.small_corpus import NUM_SAMPLES, PARAMS, demo_checkpoint

RATE = 8000
DURATION_S = NUM_SAMPLES / PARAMS.sample_rate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint for small images."""
    return demo_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small")


@pytest.fixture
def folder(
    tmp_path: Path, write_recording: WriteRecording, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current folder, with a recording of two seconds."""
    write_recording("song.wav", duration_s=2.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_lines(path: Path, jobs: Sequence[object]) -> Path:
    path.write_text("\n".join(job if isinstance(job, str) else json.dumps(job) for job in jobs))
    return path


def shifted(semitones: int, **values: object) -> dict[str, object]:
    return {"command": "retime", "song": "song.wav", "semitones": semitones, **values}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bad_jobs_are_reported_and_the_others_run(folder: Path, run: Run) -> None:
    jobs = [
        "not json",
        "",
        shifted(2, output="up.wav"),
        shifted(99),
        {"command": "serve"},
        {"prompt": "piano", "colour": 3},
        {"prompt": ["piano", "flute"]},
        {"prompt": "piano", "steps": [1, 2]},
        shifted(2, output="../up.wav"),
        {"prompt": "piano", "image": "/tmp/x.png"},
        "[1]",
        {"command": "remix", "song": "none.wav", "mute": "bass"},
        {"command": "stems", "song": "song.wav"},
        {"command": "remix", "song": "song.wav", "gain": {"drums": "+6dB"}, "mute": ["bass"]},
    ]
    result = run("batch", write_lines(folder / "jobs.jsonl", jobs), "-o", folder / "out")
    assert result.code == 2
    *failed, last = result.err.splitlines()
    assert last == "error: 10 of 13 jobs failed; the others are done"
    expected = [
        "line 1: is not a JSON object",
        "line 4: --semitones: 99",
        "line 5: command='serve' must be one of generate, ",
        "line 6: 'colour' is no argument or option of `riffusion generate`, which has prompt, ",
        "line 7: prompt: ['piano', 'flute'] must be one value",
        "line 8: steps: [1, 2] must be one value",
        "line 9: output='../up.wav' must be a name inside the batch's folder",
        "line 10: image='/tmp/x.png' must be a name inside the batch's folder",
        "line 11: [1] must be names and values",
        "line 12: path='none.wav' does not exist",
    ]
    assert len(failed) == len(expected)
    for line, start in zip(failed, expected, strict=True):
        assert line.startswith(f"failed: {start}")
    assert names(folder / "out") == ["report.jsonl", "song-remix.wav", "song-stems", "up.wav"]
    assert "bass.wav" in names(folder / "out" / "song-stems")
    assert names(folder) == ["jobs.jsonl", "out", "song.wav"]


def test_the_commands_do_what_they_do_alone(folder: Path, run: Run) -> None:
    run("batch", write_lines(folder / "jobs.jsonl", [shifted(3)]), "-o", "out")
    run("retime", "song.wav", "--semitones", 3, "-o", "alone.wav")
    assert Path("out/song-retime.wav").read_bytes() == Path("alone.wav").read_bytes()


def test_an_engine_for_all_jobs_that_name_none(
    folder: Path, run: Run, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIFFUSION_CHECKPOINT", str(checkpoint))
    loaded: list[str | None] = []
    load = ClipGenerator.load

    def recorded(*args: Any, engine: EngineName | None = None) -> ClipGenerator:
        loaded.append(engine)
        return load(*args, engine=engine)

    monkeypatch.setattr(ClipGenerator, "load", recorded)
    clip = {"prompt": "bells", "steps": 1, "seed": 1}
    jobs = [clip, {**clip, "engine": "torch", "seed": 2}, shifted(1)]
    write_lines(folder / "jobs.jsonl", jobs)
    result = run("batch", folder / "jobs.jsonl", "-o", "out", "--engine", "light")
    assert result.code == 0, result.err
    assert loaded == ["light", "torch"]
    assert "Wrote the results of 3 jobs in" in result.out
    Path("out/bells-1.mp3").unlink()
    result = run("batch", folder / "jobs.jsonl", "-o", "out")  # the same jobs with any engine
    assert result.code == 0, result.err
    assert "done        2 jobs, by" in result.out
    assert "Wrote the results of 1 job in" in result.out
    assert loaded == ["light", "torch", None]


def test_a_batch_resumes(folder: Path, run: Run) -> None:
    """Done jobs are left out, also if lines were added or moved; lost results are made again."""
    jobs = write_lines(folder / "jobs.jsonl", [shifted(1), shifted(2)])
    assert run("batch", jobs, "-o", "out").code == 0
    first, second = Path("out/song-retime.wav"), Path("out/song-retime-2.wav")
    contents = first.read_bytes(), second.read_bytes()
    assert contents[0] != contents[1]
    first.write_bytes(b"untouched")
    second.unlink()
    with Path("out/report.jsonl").open("a") as report:
        report.write('{"key": "cut o')
    write_lines(jobs, [shifted(3), shifted(2), shifted(1)])
    result = run("batch", jobs, "-o", "out")
    assert result.code == 0, result.err
    assert "done        1 job, by" in result.out
    assert first.read_bytes() == b"untouched"
    assert second.read_bytes() == contents[1]
    assert Path("out/song-retime-3.wav").stat().st_size > 1000
    assert "done        3 jobs" in run("batch", jobs, "-o", "out").out


def test_names_and_seeds(folder: Path, run: Run, checkpoint: Path) -> None:
    """A job's file is named after prompt and seed; a job without a seed has one of its own."""
    shared = {"checkpoint": str(checkpoint), "steps": 1, "duration": DURATION_S}
    jobs = [
        {"prompt": "Church bells, (loud:1.5)", "seed": 42, "image": "bells.png", **shared},
        {"prompt": "piano", **shared},
        {"prompt": "piano", **shared},
        {"prompt": "flute", "seed": 7, "count": 2, "extension": "flac", **shared},
    ]
    result = run("batch", write_lines(folder / "jobs.jsonl", jobs), "-o", "out")
    assert result.code == 0, result.err
    found = names(folder / "out")
    pianos = [name for name in found if name.startswith("piano-")]
    assert len(pianos) == 2
    others = [
        "bells.png",
        "church-bells-loud-1-5-42.mp3",
        "flute-7.flac",
        "flute-8.flac",
        "report.jsonl",
    ]
    assert [name for name in found if name not in pianos] == others
    again = run("batch", folder / "jobs.jsonl", "-o", "again")
    assert again.code == 0 and names(folder / "again") == found
    assert "done        4 jobs" in run("batch", folder / "jobs.jsonl", "-o", "out").out


TABLES = {
    "jobs.csv": 'command,song,semitones,mute\nretime,song.wav,2,\n\nremix,"song.wav",,bass\n',
    "jobs.yaml": "- {command: retime, song: song.wav, semitones: 2}\n"
    "- {command: remix, song: song.wav, mute: [bass]}\n",
    "defaults.yml": "defaults: {song: song.wav}\njobs:\n- {command: retime, semitones: 2}\n"
    "- {command: remix, mute: bass}\n",
    "jobs.json": '[{"command": "retime", "song": "song.wav", "semitones": 2},'
    '{"command": "remix", "song": "song.wav", "mute": ["bass"]}]',
}


@pytest.mark.parametrize("name", TABLES)
def test_formats(name: str, folder: Path, run: Run) -> None:
    """The same two jobs; the file may begin with a byte-order mark."""
    (folder / name).write_text(TABLES[name], encoding="utf-8-sig")
    result = run("batch", name, "-o", "out")
    assert result.code == 0, result.err
    assert names(folder / "out") == ["report.jsonl", "song-remix.wav", "song-retime.wav"]


def test_parameter_sets_of_the_published_playground(folder: Path) -> None:
    """The form of its example: what holds for all, and prompts."""
    path = folder / "playground.json"
    path.write_text(
        json.dumps(
            {
                "params": {
                    "checkpoint": "riffusion/riffusion-model-v1",
                    "scheduler": "DPMSolverMultistepScheduler",
                    "num_inference_steps": 50,
                    "guidance": 7.0,
                    "width": 512,
                },
                "entries": [
                    {"prompt": "Church bells", "seed": 42},
                    {"prompt": "electronic beats", "negative_prompt": "drums", "seed": 100},
                ],
            }
        )
    )
    first, second = read_jobs(path)
    assert first.values == {
        "checkpoint": "riffusion/riffusion-model-v1",
        "scheduler": "dpmsolver++",
        "num_inference_steps": 50,
        "guidance": 7.0,
        "duration": 5.12,
        "prompt": "Church bells",
        "seed": 42,
    }
    assert second.values["negative_prompt"] == "drums"


def test_a_parameter_set_runs(folder: Path, run: Run, checkpoint: Path) -> None:
    params = {"num_inference_steps": 2, "guidance": 7.0, "width": 128, "seed": 42}
    content = {
        "params": {**params, "checkpoint": str(checkpoint)},
        "entries": [{"prompt": "Church bells"}, {"prompt": "beats", "negative_prompt": "drums"}],
    }
    (folder / "set.json").write_text(json.dumps(content))
    result = run("batch", "set.json", "-o", "out", "--extension", "wav")
    assert result.code == 0, result.err
    assert names(folder / "out") == ["beats-42.wav", "church-bells-42.wav", "report.jsonl"]
    assert read_audio(folder / "out" / "beats-42.wav").duration_seconds == pytest.approx(1.28)


UNREADABLE = {
    "jobs.txt": ("x", "must end in .jsonl, .csv, .yaml or .json"),
    "empty.jsonl": ("\n", "contains no job"),
    "nothing.jsonl": ("", "is empty"),
    "bad.yaml": ("- {a", "is not YAML"),
    "bad.json": ("[1", "is not JSON"),
    "text.yaml": ("hello", "must contain a list of jobs"),
    "keys.yaml": ("jobs: []\nfoo: 1", "found ['foo']"),
    "no_jobs.yaml": ("params: {a: 1}", "must be a list of jobs"),
    "bad.csv": ('prompt\n"a"b\n', "is not CSV"),
    "header.csv": ("prompt\n", "contains no job"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_files_that_are_refused_as_a_whole(name: str, folder: Path, run: Run) -> None:
    content, expected = UNREADABLE[name]
    (folder / name).write_text(content)
    result = run("batch", name, "-o", "out")
    assert result.code == 2
    assert expected in result.err and len(result.err.splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_row_with_too_many_cells(folder: Path) -> None:
    (folder / "jobs.csv").write_text("prompt,seed\npiano, loud,3\nflute,4\n")
    bad, good = read_jobs(folder / "jobs.csv")
    assert isinstance(bad.error, InputError) and "3 cells, but the header 2" in str(bad.error)
    assert good.where == "line 3" and good.values == {"prompt": "flute", "seed": "4"}


def test_silence_fails_its_job_only(folder: Path, run: Run) -> None:
    write_audio(segment_from_waveform(np.zeros((1, RATE)), RATE), folder / "silent.wav")
    jobs = [{"command": "loop", "song": "silent.wav"}, shifted(1)]
    result = run("batch", write_lines(folder / "jobs.jsonl", jobs), "-o", "out")
    assert result.code == 2
    assert result.err.startswith("failed: line 1: ") and "1 of 2 jobs failed" in result.err
    assert names(folder / "out") == ["report.jsonl", "song-retime.wav"]


def test_a_report_that_was_cut_off_inside_a_character_is_read(folder: Path, run: Run) -> None:
    """The last line may end anywhere, and texts may have line separators of Unicode."""
    jobs = write_lines(folder / "jobs.jsonl", [shifted(1, output="a\u2028b.wav")])
    assert run("batch", jobs, "-o", "out").code == 0
    with Path("out/report.jsonl").open("ab") as report:
        report.write('{"where": "é'.encode()[:-1])
    result = run("batch", jobs, "-o", "out")
    assert result.code == 0, result.err
    assert "done        1 job, by" in result.out


def test_the_extension_is_that_of_stems_too_and_never_a_path(folder: Path, run: Run) -> None:
    jobs = [
        {"command": "stems", "song": "song.wav"},
        shifted(2, extension=".wav"),
        shifted(2, extension="x/../../escaped.wav"),
    ]
    path = write_lines(folder / "jobs.jsonl", jobs)
    result = run("batch", path, "-o", "out", "--extension", "flac")
    assert result.code == 2
    assert "failed: line 3: extension: 'x/../../escaped.wav' is unknown; use one of" in result.err
    assert "bass.flac" in names(folder / "out" / "song-stems")
    assert names(folder / "out") == ["report.jsonl", "song-retime.wav", "song-stems"]
    assert "escaped.wav" not in names(folder)


def test_no_job_writes_over_the_files_of_another(folder: Path, run: Run, checkpoint: Path) -> None:
    """Clips of several seeds, images, and folders of clips; all stay inside the batch's folder."""
    shared = {"prompt": "piano", "checkpoint": str(checkpoint), "duration": DURATION_S}
    jobs = [
        {**shared, "seed": 5, "count": 2, "steps": 1, "image": "a.png"},
        {**shared, "seed": 6, "steps": 2, "image": "a-6.png"},
        {"command": "between", "first": "song.wav", "last": "song.wav", "clips_dir": "../clips"},
        {"command": "between", "first": "a.wav", "last": "a.wav", "num_inference_steps": 2},
    ]
    result = run("batch", write_lines(folder / "jobs.jsonl", jobs), "-o", "out")
    assert "failed: line 3: clips_dir='../clips' must be a name inside" in result.err
    assert "failed: line 4: --solver-steps: 2 must be from 5 to 150" in result.err
    assert names(folder / "out") == [
        "a-5.png", "a-6-2.png", "a-6.png",
        "piano-5.mp3", "piano-6-2.mp3", "piano-6.mp3", "report.jsonl",
    ]  # fmt: skip


def test_a_lost_result_is_made_again_beside_one_of_a_similar_name(folder: Path, run: Run) -> None:
    jobs = write_lines(folder / "jobs.jsonl", [shifted(1), shifted(2)])
    assert run("batch", jobs, "-o", "out").code == 0
    Path("out/song-retime.wav").unlink()
    assert "done        1 job, by" in run("batch", jobs, "-o", "out").out
    assert names(folder / "out") == ["report.jsonl", "song-retime-2.wav", "song-retime.wav"]
