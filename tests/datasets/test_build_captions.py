"""Captions from metadata files, tags and names, and errors in them."""

import json
import logging
import os
import unicodedata
from pathlib import Path

import pytest

from riffusion.datasets.folder import DatasetFolder, DatasetRow
from riffusion.datasets.from_audio.builder import build_dataset
from riffusion.datasets.from_audio.captions import caption_from_name
from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
from riffusion.datasets.from_audio.sources import AudioFile
from riffusion.datasets.from_audio.tags import caption_from_tags
from riffusion.errors import InputError
from tests.datasets.recordings import SMALL, build, sweep, tone, write, write_tagged

SONG = sweep(0.4)


def rows(directory: Path) -> dict[str, DatasetRow]:
    """Rows by source."""
    return {row.source: row for row in DatasetFolder(directory).rows("train")}


def jsonl(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("01_slow-piano.mp3", "slow piano"),
        ("01 - Slow Piano (live).flac", "Slow Piano live"),
        ("drums/007.wav", "drums"),
        ("Jazz/03. Blue_bossa.ogg", "Blue bossa, Jazz"),
        ("jazz/blue jazz.ogg", "blue jazz"),
        ("a/1990/2.wav", "a"),
        ("2 step/beat 808.wav", "beat 808, step"),
        ("été/плавно.wav", "плавно, été"),
        ("0001.wav", None),
        ("12/0001.wav", None),
    ],
)
def test_captions_from_names(name: str, text: str | None) -> None:
    caption = caption_from_name(name)
    assert (caption and caption.text) == text


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (
            {"title": "Slow Rain", "genre": "Ambient", "artist": "N. N."},
            "Slow Rain, Ambient, by N. N.",
        ),
        ({"TITLE": "  Two\n words "}, "Two words"),
        ({"genre": "Ambient", "album": "Best of"}, "Ambient"),
        ({"artist": "N. N."}, None),
        ({}, None),
    ],
)
def test_captions_from_tags(tmp_path: Path, tags: dict[str, str], text: str | None) -> None:
    caption = caption_from_tags(write_tagged(tmp_path / "a.flac", SONG, tags))
    assert (caption and caption.text) == text


def test_a_file_without_audio_has_no_tags(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/a.mp3\n")
    assert caption_from_tags(tmp_path / "list.m3u8") is None


def test_metadata_precedes_tags_and_tags_precede_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    songs = tmp_path / "in"
    write_tagged(songs / "listed.flac", SONG, {"title": "tagged"})
    write_tagged(songs / "sub/only tagged.flac", SONG, {"title": "tagged"})
    write(songs / "01 only named.wav", SONG)
    write(songs / "42.wav", SONG)
    jsonl(
        songs / "metadata.jsonl",
        {
            "file_name": "listed.flac",
            "text": "from the file",
            "label": "piano",
            "kind": "instrument",
        },
        {"file_name": "gone.flac", "text": "nothing"},
    )
    with caplog.at_level(logging.WARNING):
        build(songs, tmp_path / "auto", validation_share=0)
    found = rows(tmp_path / "auto")
    assert {name: row.text for name, row in found.items()} == {
        "listed.flac": "from the file",
        "sub/only tagged.flac": "tagged",
        "01 only named.wav": "only named",
        "42.wav": "",
    }
    assert (found["listed.flac"].label, found["listed.flac"].kind) == ("piano", "instrument")
    assert found["42.wav"].label == ""
    assert [record.getMessage() for record in caplog.records] == [
        "1 rows of the captions match no file, for instance file_name='gone.flac'",
        "1 files have no caption; their text is empty",
    ]
    build(songs, tmp_path / "names", validation_share=0, caption_source="names", limit=2)
    assert {name: row.text for name, row in rows(tmp_path / "names").items()} == {
        "01 only named.wav": "only named"
    }


def test_files_without_a_caption_from_the_chosen_source_fail(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    write(songs / "42.wav", SONG)
    write_tagged(songs / "tagged.flac", SONG, {"title": "a title"})
    report = build(songs, tmp_path / "tags", validation_share=0, caption_source="tags")
    assert {name: str(error) for name, error in report.failures.items()} == {
        "42.wav": "caption_from: neither title nor genre is tagged; change that, or use auto"
    }
    report = build(songs, tmp_path / "names", validation_share=0, caption_source="names")
    assert list(report.failures) == ["42.wav"]
    jsonl(songs / "metadata.jsonl", {"file_name": "42.wav", "text": "the answer"})
    report = build(songs, tmp_path / "metadata", validation_share=0, caption_source="metadata")
    assert {name: row.text for name, row in rows(tmp_path / "metadata").items()} == {
        "42.wav": "the answer"
    }
    assert "no row of the captions" in str(report.failures["tagged.flac"])


def test_metadata_in_subfolders_and_as_csv(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    write(songs / "a/one.wav", SONG)
    write(songs / "b/two.wav", SONG)
    write(songs / "b/é.wav", SONG)
    jsonl(
        songs / "a/metadata.jsonl",
        {"file_name": "./one.wav", "captions": ["first", "second", "first"], "bpm": 90},
    )
    csv_text = '﻿file_name,caption,label\r\ntwo.wav,"slow, with ""bells""",bells\r\né.wav,é,\r\n'
    (songs / "b/metadata.csv").write_text(
        unicodedata.normalize("NFD", csv_text), "utf-8", newline=""
    )
    build(songs, tmp_path / "out", validation_share=0)
    found = rows(tmp_path / "out")
    assert found["a/one.wav"].captions == ("first", "second")
    assert (found["b/two.wav"].text, found["b/two.wav"].label) == ('slow, with "bells"', "bells")
    assert unicodedata.normalize("NFC", found["b/é.wav"].text) == "é"


def test_a_file_of_captions_beside_the_recordings(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    write(songs / "a/one.wav", SONG)
    path = jsonl(songs / "my captions.jsonl", {"file_name": "a\\one.wav", "caption": "one"})
    report = build(songs, tmp_path / "out", captions=path)
    assert not report.failures
    assert rows(tmp_path / "out")["a/one.wav"].text == "one"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.jsonl", "{}\n", "line 1 has no file_name"),
        ("metadata.jsonl", '\n{"file_name": "a.wav"}\n', "line 2 has no text"),
        ("metadata.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("metadata.jsonl", "{'file_name'}\n", "line 1 is not JSON"),
        ("metadata.jsonl", '{"file_name": "a.wav", "text": 5}\n', "text=5 must be a string"),
        (
            "metadata.jsonl",
            '{"file_name": "a.wav", "captions": "b"}\n',
            "captions='b' must be a list",
        ),
        ("metadata.jsonl", '{"file_name": "b.wav", "text": "b"}\n', "no row matches a file"),
        ("metadata.jsonl", '{"file_name": "../a.wav", "text": "b"}\n', "no row matches a file"),
        ("metadata.jsonl", '{"file_name": "a.wav", "text": "b"}\n' * 2, "is listed twice"),
        (
            "metadata.csv",
            "name,text\na.wav,b\n",
            "line 1 names the columns 'name, text', without fi",
        ),
        ("metadata.csv", b"file_name,text\na.wav,\xff\n", "is not UTF-8"),
    ],
)
def test_malformed_captions_are_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    write(tmp_path / "in/a.wav", SONG)
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "in" / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        build(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_to_itself_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "in/a.wav", SONG)
    (tmp_path / "in/metadata.csv").symlink_to("metadata.csv")
    with pytest.raises(InputError, match=r"captions: .*metadata\.csv' cannot be read \(Too many"):
        build(tmp_path / "in", tmp_path / "out")


def test_hidden_folders_hold_no_metadata(tmp_path: Path) -> None:
    write(tmp_path / "in/a.wav", SONG)
    jsonl(tmp_path / "in/.trash/metadata.jsonl", "no object")
    build(tmp_path / "in", tmp_path / "out", limit=1)
    assert rows(tmp_path / "out")["a.wav"].text == "a"


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    song = write(tmp_path / "in/caf.wav", SONG)
    song.rename(song.parent / os.fsdecode(b"caf\xe9 solo.wav"))
    report = build(tmp_path / "in", tmp_path / "out")
    assert not report.failures
    (row,) = DatasetFolder(tmp_path / "out").rows("train")
    assert (row.source, row.text) == ("caf? solo.wav", "caf? solo")


def test_missing_captions_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "in/a.wav", SONG)
    with pytest.raises(InputError, match="captions: .*metadata.jsonl or metadata.csv"):
        build(tmp_path / "in", tmp_path / "out", caption_source="metadata")
    with pytest.raises(InputError, match="captions: .*cannot be read"):
        build(tmp_path / "in", tmp_path / "out", captions=tmp_path / "none.csv")
    with pytest.raises(InputError, match="captions: .* cannot be combined with captions from tags"):
        build(tmp_path / "in", tmp_path / "out", captions=tmp_path / "c.csv", caption_source="tags")


def test_metadata_of_another_data_set_in_the_folder_is_ignored(tmp_path: Path) -> None:
    song = write(tmp_path / "in/a b.wav", tone(500, 0.4))
    build(tmp_path / "in", tmp_path / "in/earlier")
    (tmp_path / "in/earlier/train/metadata.jsonl").write_text("no JSON")
    build_dataset(
        tmp_path / "in",
        [AudioFile(song, "a b.wav")],
        tmp_path / "out",
        BuildOptions(SliceOptions(SMALL)),
        num_processes=1,
    )
    assert rows(tmp_path / "out")["a b.wav"].text == "a b"
