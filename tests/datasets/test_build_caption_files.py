"""Files of captions whose rows don't fit, and captions in text files beside the recordings."""

import json
import re
import unicodedata
from pathlib import Path

import pytest

from riffusion.datasets.folder import DatasetFolder
from riffusion.datasets.from_audio.captions import MetadataFile, match_captions
from riffusion.errors import InputError
from tests.datasets.recordings import build, sweep, write, write_tagged

SONG = sweep(0.4)


def texts(directory: Path) -> dict[str, str]:
    return {row.source: row.text for row in DatasetFolder(directory).rows("train")}


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        write(tmp_path / f"in/{name}.wav", SONG)
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('a.wav,slow bells, with reverb\nb.wav,"jazz, trio"\n', "line 2 has 3 columns, but the fi"),
        ('a.wav,bells\nb.wav, "jazz, trio"\n', "line 3 has 3 columns, but the first line names 2"),
        ("a.wav,bells\n\nb.wav\nc.wav,techno\n", "line 4 has 1 columns, but the first line name"),
        ('a.wav,"bells\nb.wav,jazz\nc.wav,techno\n', "line 2 is not CSV, perhaps for want of a c"),
        ('a.wav,bells\nb.wav,"jazz\nc.wav,"techno"\n', "line 3 is not CSV, perhaps for want of a"),
        ('a.wav,"bells\nb.wav,""\nc.wav,techno\n', "line 2 is not CSV"),
        ('a.wav,"big" bells\n', "line 2 is not CSV"),
        ('a.wav,"two\nlines"\nb.wav,x,y\n', "line 4 has 3 columns"),
        ("a.wav;bells\n", "line 2 has 1 columns, but the first line names 2; save it with commas"),
        ("a.wav,bells,\n", "line 2 has 3 columns"),
        (",\n", "line 2 has no file_name"),
    ],
)
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_csv_rows_that_do_not_fit_are_refused(
    songs: Path, tmp_path: Path, rows: str, message: str, line_break: str
) -> None:
    text = f"file_name,text\n{rows}".replace("\n", line_break)
    (songs / "metadata.csv").write_text(text, newline="")
    with pytest.raises(InputError, match=f"^captions=metadata.csv, {re.escape(message)}") as found:
        build(songs, tmp_path / "out")
    assert "\n" not in str(found.value)
    assert ("quotes around text that contains commas" in str(found.value)) == (rows != ",\n")
    assert not (tmp_path / "out").exists()


def test_a_column_named_twice_is_refused(songs: Path, tmp_path: Path) -> None:
    (songs / "metadata.csv").write_text("file_name,text,text\na.wav,bells,jazz\n")
    with pytest.raises(InputError, match="line 1 names the column 'text' twice; rename one"):
        build(songs, tmp_path / "out")


def test_csv_rows_that_fit_keep_their_whole_text(songs: Path, tmp_path: Path) -> None:
    (songs / "metadata.csv").write_text(
        "\n"
        "bpm,file_name,text\n"
        '90,a.wav,"slow ""big"" bells, with\nreverb, large hall"\n'
        "  \n"
        ',b.wav,a 5" speaker\n'
        ",c.wav,"
    )
    build(songs, tmp_path / "out", validation_share=0)
    assert texts(tmp_path / "out") == {
        "a.wav": 'slow "big" bells, with reverb, large hall',
        "b.wav": 'a 5" speaker',
        "c.wav": "",
    }


TABLES = {
    "semicolons": "file_name;text\na.wav;slow bells, loud\nb.wav;jazz\n",
    "tabs": "file_name\ttext\na.wav\tslow bells, loud\nb.wav\tjazz\n",
    "tabs, quoted": 'text\tfile_name\n"slow bells, loud"\ta.wav\njazz\tb.wav\n',
    "a line for Excel": 'sep=,\nfile_name,text\na.wav,"slow bells, loud"\nb.wav,jazz\n',
    "semicolons for Excel": "sep=;\nfile_name;text\na.wav;slow bells, loud\nb.wav;jazz\n",
    "other names": 'File_Name, Text\na.wav,"slow bells, loud"\nb.wav,jazz\n',
}


@pytest.mark.parametrize("extension", ["csv", "tsv", "CSV"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_spreadsheets_are_read(
    kind: str, line_break: str, encoding: str, extension: str
) -> None:
    content = TABLES[kind].replace("\n", line_break).encode(encoding)
    file = MetadataFile(f"Metadata.{extension}", ".", content)
    captions, unmatched = match_captions([file], ["a.wav", "b.wav"])
    assert {name: caption.text for name, caption in captions.items()} == {
        "a.wav": "slow bells, loud",
        "b.wav": "jazz",
    }
    assert not unmatched


@pytest.mark.parametrize("name", ["metadata.tsv", "Metadata.CSV", "METADATA.csv"])
def test_files_of_captions_of_other_names_are_found(songs: Path, tmp_path: Path, name: str) -> None:
    (songs / name).write_text("file_name;text\na.wav;bells\n")
    build(songs, tmp_path / "out", validation_share=0)
    assert texts(tmp_path / "out")["a.wav"] == "bells"


@pytest.mark.parametrize(
    "rows",
    [
        'a.wav,"bells\nb.wav,jazz"\nc.wav,techno\n',
        'a.wav,"bells\n"b.wav,jazz"\n',
        'a.wav,"bells\nb.wav,jazz\nc.wav,techno"\n',
        'x.wav,"bells\nc.wav,techno"\na.wav,bells\n',
    ],
)
def test_a_quote_that_swallows_a_row_is_refused(rows: str) -> None:
    file = MetadataFile("metadata.csv", ".", f"file_name,text\n{rows}".encode())
    with pytest.raises(
        InputError, match=r"line 2 (has a text that contains the row of|is not CSV)"
    ):
        match_captions([file], ["a.wav", "b.wav", "c.wav"])


def test_texts_of_several_lines_may_name_recordings() -> None:
    rows = 'a.wav,"like\nb.wav\nbut slower, as c.wav"\n'
    file = MetadataFile("metadata.csv", ".", f"file_name,text\n{rows}".encode())
    captions, _ = match_captions([file], ["a.wav", "b.wav", "c.wav"])
    assert captions["a.wav"].text == "like b.wav but slower, as c.wav"


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    line = '{"file_name": "a.wav", "text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(InputError, match="line 1 is not JSON .*write one object per line"):
        match_captions([MetadataFile("metadata.jsonl", ".", line.encode())], ["a.wav"])


@pytest.mark.parametrize("line", ['"a.wav"', "5", "null", '["a.wav", "bells"]', "true"])
def test_json_lines_that_are_not_objects_are_refused(
    songs: Path, tmp_path: Path, line: str
) -> None:
    first = json.dumps({"file_name": "a.wav", "text": "bells"})
    (songs / "metadata.jsonl").write_text(f"{first}\n\n{line}\n")
    message = r"metadata\.jsonl, line 3 is not a JSON object; write one with file_name and text"
    with pytest.raises(InputError, match=message):
        build(songs, tmp_path / "out")


def test_metadata_precede_text_files_and_those_precede_tags(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    for name in ("listed", "described", "tagged"):
        write_tagged(songs / f"{name}.flac", SONG, {"title": "a title"})
    write(songs / "sub/named.wav", SONG)
    write(songs / "sub/described.wav", SONG)
    (songs / "metadata.csv").write_text("file_name,text\nlisted.flac,from metadata\n")
    (songs / "listed.txt").write_bytes(b"not read: \xff")
    (songs / "described.txt").write_text("slow church bells\n  in a large hall\n")
    (songs / "sub/described.TXT").write_text("\ufefffast, techno")
    (songs / "tagged.txt").write_text(" \n")
    (songs / "other.txt").write_bytes(b"not beside a recording: \xff")
    (songs / ".tagged.txt").write_bytes(b"hidden: \xff")
    write(songs / "a.b.wav", SONG)
    (songs / "a.b.txt").write_text("two dots")
    (songs / "a.txt").write_text("of another file")
    report = build(songs, tmp_path / "out", validation_share=0)
    assert set(report.failures) <= {"other.txt", "a.txt", ".tagged.txt"}
    assert texts(tmp_path / "out") == {
        "listed.flac": "from metadata",
        "described.flac": "slow church bells in a large hall",
        "tagged.flac": "a title",
        "sub/named.wav": "named, sub",
        "sub/described.wav": "fast, techno",
        "a.b.wav": "two dots",
    }


@pytest.mark.parametrize("name", ["a.caption", "a.CAPTION", "a.Txt", "a.wav.txt", "a.wav.caption"])
def test_names_that_other_trainers_give_text_files(songs: Path, tmp_path: Path, name: str) -> None:
    (songs / name).write_bytes("slow bells\r\n".encode("utf-8-sig"))
    build(songs, tmp_path / "out", validation_share=0)
    assert texts(tmp_path / "out") == {"a.wav": "slow bells", "b.wav": "b", "c.wav": "c"}


def test_of_two_text_files_txt_counts(songs: Path, tmp_path: Path) -> None:
    (songs / "a.caption").write_text("jazz")
    (songs / "a.txt").write_text("bells")
    build(songs, tmp_path / "out", validation_share=0)
    assert texts(tmp_path / "out")["a.wav"] == "bells"


def test_accents_in_either_form(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    write(songs / (unicodedata.normalize("NFD", "été") + ".wav"), SONG)
    (songs / (unicodedata.normalize("NFC", "été") + ".txt")).write_text("summer", "utf-8")
    build(songs, tmp_path / "out")
    assert list(texts(tmp_path / "out").values()) == ["summer"]


def test_text_files_alone_as_the_source(songs: Path, tmp_path: Path) -> None:
    (songs / "a.txt").write_text("bells")
    (songs / "b.txt").write_text("")
    report = build(songs, tmp_path / "out", validation_share=0, caption_source="sidecars")
    assert texts(tmp_path / "out") == {"a.wav": "bells"}
    assert {name: str(error) for name, error in report.failures.items()} == dict.fromkeys(
        ("b.wav", "c.wav"),
        "caption_from: no text file beside it has its name and a caption; change that, or use auto",
    )


@pytest.mark.parametrize("source", ["tags", "names"])
def test_other_sources_leave_text_files_alone(songs: Path, tmp_path: Path, source: str) -> None:
    write_tagged(songs / "t.flac", SONG, {"title": "t"})
    (songs / "t.txt").write_bytes(b"\xff")
    build(songs, tmp_path / "out", validation_share=0, caption_source=source)
    assert texts(tmp_path / "out")["t.flac"] == "t"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clàssic".encode("latin-1"), r"b\.txt' is not UTF-8 \(.*save it as UTF-8, or take"),
        ("bells".encode("utf-16"), r"b\.txt' is not UTF-8 \("),
        (b"x" * 2**17, r"b\.txt' is longer than 65536 bytes; .*shorten it, or take captions from"),
    ],
)
def test_text_files_that_are_no_captions_are_told(
    songs: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    (songs / "b.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"^caption_from: .*{message}"):
        build(songs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_text_that_changed_is_another_data_set(songs: Path, tmp_path: Path) -> None:
    build(songs, tmp_path / "out")
    for text in ("bells", "church bells"):
        (songs / "a.txt").write_text(text)
        with pytest.raises(InputError, match="was made with other options \\(inputs: "):
            build(songs, tmp_path / "out")
        build(songs, tmp_path / text)


def test_metadata_in_linked_folders(songs: Path, tmp_path: Path) -> None:
    write(tmp_path / "real/d.wav", SONG)
    (tmp_path / "real/metadata.csv").write_text("file_name,text\nd.wav,linked\n")
    (tmp_path / "real/loop").symlink_to(songs)
    (songs / "album").symlink_to(tmp_path / "real")
    from riffusion.cli.folder_batch import list_batch
    from riffusion.datasets.from_audio.builder import build_dataset
    from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
    from riffusion.datasets.from_audio.sources import AudioFile
    from tests.datasets.recordings import SMALL

    items = list_batch(songs, tmp_path / "out", "**/*", -1)
    files = [AudioFile(item.path, item.name) for item in items]
    options = BuildOptions(SliceOptions(SMALL), validation_share=0)
    build_dataset(songs, files, tmp_path / "out", options, 1)
    assert texts(tmp_path / "out")["album/d.wav"] == "linked"
