"""Which files of a folder count as audio, in every command that takes a folder of audio files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import read_audio
from riffusion.cli.audio_files import list_audio_files
from riffusion.datasets.folder import DatasetFolder
from riffusion.errors import InputError
from riffusion.io.images import read_image
from tests.cli.conftest import Run, WriteRecording

BESIDE_AN_ALBUM: dict[str, bytes] = {
    "Artist - Album.log": "\ufeffExact Audio Copy V1.3".encode("utf-16-le"),
    "album.m3u8": b"#EXTM3U\n01 song.wav\n",
    "album.cue": b'FILE "01 song.wav" WAVE\n',
    "album.sfv": b"01 song.wav 1234ABCD\n",
    "desktop.ini": b"[.ShellClassInfo]\r\n",
    "01 song.wav.asd": b"\xab\x1e\x56\x78\x03\0\0\0",
    "01 song.mid": b"MThd\0\0\0\6\0\1\0\1\0\x60",
    "cover.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "booklet.pdf": b"%PDF-1.7\n",
    ".DS_Store": b"\0\0\0\1Bud1",
    "._01 song.wav": b"\0\5\x16\7\0\2\0\0Mac OS X",
    "__MACOSX/._01 song.wav": b"\0\5\x16\7\0\2\0\0Mac OS X",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "Icon\r": b"",
    "LICENSE": b"CC BY 4.0\n",
    "unheard.of": "\ufefftext".encode("utf-16-le"),
    "noise.of": bytes(range(256)),
    "kit.exs": b"RIFF\0\0\0\0sfbk",
    "empty.of": b"",
}
"""What ripping, playing, editing and copying leaves beside an album's songs."""

DATASET_OPTIONS = (
    "--sample-rate", 8000, "--padded-duration-ms", 100, "--height", 64, "--width", 32,
    "--validation-share", 0, "--processes", 1,
)  # fmt: skip


@pytest.fixture
def album(tmp_path: Path, write_recording: WriteRecording) -> Path:
    """One song among the files of an album."""
    song = write_recording("album/01 song.wav", duration_s=0.5)
    for name, content in BESIDE_AN_ALBUM.items():
        path = song.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return song.parent


Command = Callable[[Path, Path], tuple[object, ...]]
COMMANDS: dict[str, Command] = {
    "dataset build": lambda folder, out: ("dataset", "build", folder, "-o", out, *DATASET_OPTIONS),
    "audio-to-images-batch": lambda folder, out: (
        "audio-to-images-batch", "--audio-dir", folder, "--output-dir", out, "--device", "cpu",
        "--num-frequencies", 64, "--mono",
    ),
    "sample-clips-batch": lambda folder, out: (
        "sample-clips-batch", "--audio-dir", folder, "--output-dir", out, "--duration-ms", 200,
        "--extension", "wav",
    ),
}  # fmt: skip


def made(out: Path) -> set[str]:
    """Recordings that results were made from, without extension."""
    if (out / "train").is_dir():
        rows = DatasetFolder(out).rows("train")
        return {Path(row.source).with_suffix("").as_posix() for row in rows}
    names = (path.relative_to(out).with_suffix("").as_posix() for path in out.rglob("*.*"))
    return {name.split("_0_start")[0] for name in names}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_is_not_audio_is_passed_over(
    album: Path, tmp_path: Path, run: Run, command: Command
) -> None:
    result = run(*command(album, tmp_path / "out"))
    assert (result.code, result.err) == (0, "")
    assert made(tmp_path / "out") == {"01 song"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_broken_audio_is_still_a_failure(
    album: Path, tmp_path: Path, run: Run, command: Command
) -> None:
    (album / "02 torn.wav").write_bytes(b"RIFF")
    (album / "03 text.OPUS").write_text("no sound at all")
    (album / "04 bare").write_bytes(b"OggS")
    result = run(*command(album, tmp_path / "out"))
    assert result.code == 2
    lines = result.err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["failed", "02 torn.wav"],
        ["failed", "03 text.OPUS"],
        ["failed", "04 bare"],
        ["error", "3 of 4 files failed; the others are done"],
    ]
    assert made(tmp_path / "out") == {"01 song"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_linked_folders_are_included(
    tmp_path: Path, write_recording: WriteRecording, run: Run, command: Command
) -> None:
    real = write_recording("real/deep/b.wav", duration_s=0.5).parents[1]
    write_recording("songs/a.wav", duration_s=0.5)
    (tmp_path / "songs/album").symlink_to("../real")
    (real / "loop").symlink_to(tmp_path / "songs")
    (real / "deep/loop").symlink_to(".")
    result = run(*command(tmp_path / "songs", tmp_path / "out"))
    assert (result.code, result.err) == (0, "")
    assert made(tmp_path / "out") == {"a", "album/deep/b"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_links_that_lead_nowhere_are_told(
    tmp_path: Path,
    write_recording: WriteRecording,
    run: Run,
    command: Command,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = write_recording("songs/a.wav", duration_s=0.5).parent
    (folder / "b.wav").symlink_to("../gone/b.wav")
    (folder / "c.mp3").symlink_to("c.mp3")
    (folder / "d").symlink_to("../gone")
    (folder / "d.log").symlink_to("../gone/d.log")
    (folder / ".e.wav").symlink_to("../gone/e.wav")
    result = run(*command(folder, tmp_path / "out"))
    assert (result.code, result.err) == (0, "")
    assert caplog.messages == [
        "links that lead nowhere are passed over, 3 in all, for instance 'b.wav'; "
        "repair or remove them"
    ]
    assert made(tmp_path / "out") == {"a"}


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_audio_without_its_extension_is_found_by_its_content(
    tmp_path: Path, write_recording: WriteRecording, run: Run, suffix: str
) -> None:
    song = write_recording(f"in/a.{suffix}", duration_s=0.5)
    song.rename(tmp_path / "in/song")
    (tmp_path / "in/b.take2").write_bytes((tmp_path / "in/song").read_bytes())
    result = run(
        "audio-to-images-batch", "--audio-dir", tmp_path / "in", "--output-dir", tmp_path / "out",
        "--device", "cpu", "--num-frequencies", 64, "--mono", "--image-extension", "png",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    images = [read_image(tmp_path / f"out/{name}.png") for name in ("song", "b")]
    assert all(abs(image.width - 51) <= 4 for image in images)  # 0.5 s; mp3 and m4a pad
    assert np.array_equal(images[0], images[1])


@pytest.mark.parametrize(
    "suffix", ["aac", "aiff", "au", "caf", "mka", "mp2", "opus", "w64", "wma", "wv"]
)
def test_more_formats_are_found_by_their_content(
    tmp_path: Path, write_recording: WriteRecording, suffix: str
) -> None:
    import av

    song = read_audio(write_recording("a.wav", duration_s=0.5))
    samples = np.array(song.get_array_of_samples(), np.int16)
    target = tmp_path / f"in/a.{suffix}"
    target.parent.mkdir()
    codecs = {
        "aac": "aac", "mp2": "mp2", "opus": "libopus", "wma": "wmav2",
        "wv": "wavpack", "aiff": "pcm_s16be", "au": "pcm_s16be", "caf": "pcm_s16be",
    }  # fmt: skip
    containers = {"aac": "adts", "wma": "asf", "mka": "matroska"}
    rate = 48000 if suffix == "opus" else 44100
    with av.open(str(target), "w", format=containers.get(suffix)) as container:
        stream = container.add_stream(codecs.get(suffix, "pcm_s16le"), rate=rate, layout="mono")
        if suffix == "wma":
            stream.codec_context.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 44100
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or None
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    assert read_audio(target).duration_seconds == pytest.approx(0.5, abs=0.1)
    for name in ("bare", "x.unknown"):
        target.with_name(name).write_bytes(target.read_bytes())
    found = list_audio_files(target.parent, tmp_path / "out", "**/*")
    assert [path.name for path in found] == [target.name, "bare", "x.unknown"]


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("**/*", ["a.wav", "album/b.mp3", "album/deep/c.wav"]),
        ("**/*.wav", ["a.wav", "album/deep/c.wav"]),
        ("album/**/*", ["album/b.mp3", "album/deep/c.wav"]),
        ("album/*.[mw]*", ["album/b.mp3"]),
        ("*/deep/?.wav", ["album/deep/c.wav"]),
        ("album/deep/c.wav", ["album/deep/c.wav"]),
        ("*.wav", ["a.wav"]),
    ],
)
def test_patterns_match_behind_links_as_elsewhere(
    tmp_path: Path, glob: str, names: list[str]
) -> None:
    for folder, is_linked in ((tmp_path / "plain", False), (tmp_path / "linked", True)):
        real = tmp_path / "real" if is_linked else folder / "album"
        (real / "deep").mkdir(parents=True)
        folder.mkdir(exist_ok=True)
        if is_linked:
            (folder / "album").symlink_to(real)
        for path in (folder / "a.wav", real / "b.mp3", real / "deep/c.wav", real / "deep/.d.wav"):
            path.touch()
        found = list_audio_files(folder, tmp_path / "out", glob)
        assert [path.relative_to(folder).as_posix() for path in found] == names


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    for name, content in BESIDE_AN_ALBUM.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="has no audio file that matches"):
        list_audio_files(tmp_path, tmp_path / "out", "**/*")


def test_a_pattern_with_an_extension_is_taken_at_its_word(tmp_path: Path) -> None:
    for name in ("a.log", "b.dat", "c.wav"):
        (tmp_path / name).write_text("text")
    for name in ("a.log", "b.dat"):
        found = list_audio_files(tmp_path, tmp_path / "out", f"**/*{Path(name).suffix}")
        assert found == [tmp_path / name]
