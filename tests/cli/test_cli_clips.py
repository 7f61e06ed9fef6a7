"""sample-clips and the two batch commands."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.audio import AudioSegment, num_samples, read_audio, segment_from_waveform
from riffusion.audio.sampling import cut_clip, sample_starts_ms
from riffusion.audio.segments import samples_from_segment, segment_from_samples
from riffusion.cli import sample_clips
from riffusion.cli.folder_batch import list_batch
from riffusion.errors import InputError
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.cli.conftest import Run, WriteRecording


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@given(
    length=st.integers(1, 5000),
    rate=st.sampled_from([8000, 11025, 44100]),
    duration_ms=st.integers(1, 700),
    seed=st.integers(0, 99),
)
def test_clips_are_inside_the_audio_and_have_the_exact_length(
    length: int, rate: int, duration_ms: int, seed: int
) -> None:
    counting = np.arange(length, dtype=np.int16)[None]
    segment = segment_from_samples(counting, rate)
    expected = round(duration_ms * rate / 1000)
    if expected > length:
        with pytest.raises(InputError, match="longer than the audio"):
            sample_starts_ms(segment, duration_ms, 3, random.Random(seed))
        return
    for start_ms in sample_starts_ms(segment, duration_ms, 3, random.Random(seed)):
        samples = samples_from_segment(cut_clip(segment, start_ms, duration_ms))[0]
        start = round(start_ms * rate / 1000)
        assert np.array_equal(samples, counting[0, start : start + expected])


def test_starts_reach_both_ends() -> None:
    segment = segment_from_waveform(np.zeros((1, 1010), np.float32), 1000)
    starts = set(sample_starts_ms(segment, 1000, 500, random.Random(0)))
    assert starts == set(range(11))


def test_a_clip_outside_is_refused() -> None:
    segment = segment_from_waveform(np.zeros((1, 1000), np.float32), 1000)
    with pytest.raises(InputError, match="outside the audio"):
        cut_clip(segment, 1, 1000)


def test_sample_clips_names_formats_and_seed(
    tmp_path: Path, write_recording: WriteRecording
) -> None:
    song = write_recording("song.wav", duration_s=2, channels=2)
    for name in ("a", "b"):
        sample_clips(
            audio=str(song),
            output_dir=str(tmp_path / name),
            num_clips=3,
            duration_ms=567,
            mono=True,
            extension="flac",
            seed=42,
        )
    clips = _files(tmp_path / "a")
    assert clips == _files(tmp_path / "b")
    assert len(clips) == 3
    whole = samples_from_segment(read_audio(song))[:1]
    for index, name in enumerate(clips):
        start_ms = int(name.split("_")[3])
        assert name == f"clip_{index}_start_{start_ms}_ms_duration_567_ms.flac"
        clip = read_audio(tmp_path / "a" / name)
        start = round(start_ms * 44.1)
        stop = start + round(567 * 44.1)
        assert np.array_equal(samples_from_segment(clip), whole[:, start:stop])


def test_clip_as_long_as_the_audio(
    tmp_path: Path, write_recording: WriteRecording, run: Run
) -> None:
    song = write_recording("song.wav", duration_s=0.5)
    result = run(
        "sample-clips", "--audio", song, "--output-dir", tmp_path / "c", "--duration-ms", 500
    )
    assert result.code == 0
    path = tmp_path / "c/clip_0_start_0_ms_duration_500_ms.wav"
    assert result.out == f"Wrote {path}\n"
    assert num_samples(read_audio(path)) == 22050


@pytest.fixture
def tree(tmp_path: Path, write_recording: WriteRecording) -> Path:
    """Five recordings, two broken ones and two files to ignore; some names would collide."""
    write_recording("in/a.wav", duration_s=0.5, channels=2)
    write_recording("in/a.flac", duration_s=0.4, rate=22050)
    write_recording("in/a.flac.wav", duration_s=0.3)
    write_recording("in/sub/a.wav", duration_s=0.2)
    write_recording("in/sub/deep/b.mp3", duration_s=0.2, rate=48000)
    (tmp_path / "in/sub/broken.mp3").write_text("no sound at all")
    (tmp_path / "in/empty.wav").touch()
    (tmp_path / "in/facts.json").write_text("{}")
    (tmp_path / "in/.hidden.wav").touch()
    return tmp_path / "in"


def test_batch_names_mirror_the_tree_and_never_collide(tree: Path) -> None:
    items = list_batch(tree, tree / "out", "**/*", -1)
    assert {item.name: item.stem.as_posix() for item in items} == {
        "a.flac": "a.flac",
        "a.flac.wav": "a.flac.wav",
        "a.wav": "a.wav",
        "empty.wav": "empty",
        "sub/a.wav": "sub/a",
        "sub/broken.mp3": "sub/broken",
        "sub/deep/b.mp3": "sub/deep/b",
    }


@given(
    st.sets(
        st.tuples(
            st.sampled_from(["a", "A", "a.mp3", "a.wav", "b"]),
            st.sampled_from(["", ".mp3", ".wav"]),
        ),
        min_size=1,
    )
)
def test_batch_stems_are_unique(names: set[tuple[str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        for stem, suffix in names:
            Path(directory, stem + suffix).touch()
        items = list_batch(Path(directory), Path(directory), "*", -1)
        assert len(items) == len(set(Path(directory).iterdir()))
        assert len({item.stem for item in items}) == len(items)


def test_outputs_inside_the_input_folder_are_not_inputs(tree: Path) -> None:
    before = list_batch(tree, tree / "out", "**/*", -1)
    (tree / "out").mkdir()
    (tree / "out/clip.wav").touch()
    assert list_batch(tree, tree / "out", "**/*", -1) == before


def test_other_files_are_ignored_unless_the_pattern_names_them(tree: Path) -> None:
    before = list_batch(tree, tree, "**/*", -1)
    for name in ("cover.JPG", "a.png", "sub/lyrics.lrc", "list.m3u", "notes.txt", "a.webp"):
        (tree / name).touch()
    assert list_batch(tree, tree, "**/*", -1) == before
    assert [item.name for item in list_batch(tree, tree, "**/*.png", -1)] == ["a.png"]


def test_a_second_run_into_the_same_folder_ignores_its_own_images(
    tmp_path: Path, write_recording: WriteRecording, run: Run
) -> None:
    write_recording("in/a.wav", duration_s=0.2)
    folder = tmp_path / "in"
    for _ in range(2):
        result = run(
            "audio-to-images-batch", "--audio-dir", folder, "--output-dir", folder,
            "--num-frequencies", 64, "--mono", "--device", "cpu",
        )  # fmt: skip
        assert (result.code, result.err) == (0, "")
    assert list(_files(folder)) == ["a.jpg", "a.wav"]


def test_a_defect_in_one_file_does_not_end_the_batch(
    tree: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(path: Path) -> AudioSegment:
        if path.name == "a.flac":
            raise AttributeError("two\nlines")
        return read_audio(path)

    monkeypatch.setattr("riffusion.audio.read_audio", broken)
    arguments = (
        "sample-clips-batch", "--audio-dir", tree, "--output-dir", tmp_path / "c",
        "--duration-ms", 100, "--num-threads", 1,
    )  # fmt: skip
    result = run(*arguments)
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[0] == "failed: a.flac: unexpected AttributeError: two lines"
    assert len(lines) == 4
    assert lines[-1].startswith("error: 3 of 7 files failed; the others are done; ")
    assert "--debug" in lines[-1]
    assert len(_files(tmp_path / "c")) == 4
    with_traceback = run("--debug", *arguments)
    assert with_traceback.code == 1
    assert 'raise AttributeError("two' in with_traceback.err


def test_limit_and_glob(tree: Path) -> None:
    assert [item.name for item in list_batch(tree, tree / "out", "*.wav", 2)] == [
        "a.flac.wav",
        "a.wav",
    ]
    with pytest.raises(InputError, match="not a valid pattern"):
        list_batch(tree, tree / "out", "/absolute/*", -1)


def test_sample_clips_batch_continues_after_failures_and_is_deterministic(
    tree: Path, tmp_path: Path, run: Run
) -> None:
    outputs = []
    for name, threads in (("one", 1), ("many", 4)):
        result = run(
            "sample-clips-batch", "--audio-dir", tree, "--output-dir", tmp_path / name,
            "--num-clips-per-file", 2, "--duration-ms", 100, "--extension", "wav",
            "--seed", 7, "--num-threads", threads,
        )  # fmt: skip
        assert result.code == 2
        lines = result.err.splitlines()
        assert [line.split(": ")[:2] for line in lines[:-1]] == [
            ["failed", "empty.wav"],
            ["failed", "sub/broken.mp3"],
        ]
        assert lines[-1].startswith("error: 2 of 7 files failed")
        outputs.append(_files(tmp_path / name))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 10
    for name in outputs[0]:
        clip = read_audio(tmp_path / "one" / name)
        assert num_samples(clip) == round(0.1 * clip.frame_rate)
        assert name.endswith("_ms_dur_100_ms.wav")
    starts = {name.split("_start_")[1] for name in outputs[0]}
    assert len(starts) > 2  # each file has its own random starts


def test_audio_to_images_batch_resamples_and_continues_after_failures(
    tree: Path, tmp_path: Path, run: Run
) -> None:
    result = run(
        "audio-to-images-batch", "--audio-dir", tree, "--output-dir", tmp_path / "p",
        "--image-extension", "png", "--num-frequencies", 64, "--mono", "--sample-rate", 22050,
        "--num-threads", 2, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 2
    assert result.err.count("failed: ") == 2
    widths = {name: read_image(tmp_path / "p" / name).size for name in _files(tmp_path / "p")}
    assert widths == {
        "a.flac.png": (41, 64),  # hop of 220 samples, a little under 10 ms
        "a.flac.wav.png": (31, 64),
        "a.wav.png": (51, 64),
        "sub/a.png": (21, 64),
        "sub/deep/b.png": (21, 64),
    }
    params = SpectrogramParams.from_exif(read_image(tmp_path / "p/sub/deep/b.png").getexif())
    assert params == SpectrogramParams(num_frequencies=64, sample_rate=22050)


def test_failures_name_the_option(tree: Path, tmp_path: Path, run: Run) -> None:
    result = run(
        "sample-clips-batch", "--audio-dir", tree, "--output-dir", tmp_path / "c",
        "--duration-ms", 450, "--glob", "a.*",
    )  # fmt: skip
    assert result.code == 2
    assert result.err.startswith("failed: a.flac: --duration-ms: 450 ms are longer than the audio")


def test_batch_without_failures_exits_0(tree: Path, tmp_path: Path, run: Run) -> None:
    result = run(
        "sample-clips-batch", "--audio-dir", tree, "--output-dir", tmp_path / "c",
        "--duration-ms", 100, "--glob", "sub/**/[ab].*",
    )  # fmt: skip
    assert result.code == 0
    assert result.err == ""
    assert [Path(name).suffix for name in _files(tmp_path / "c")] == [".mp3", ".mp3"]
