"""Edited files keep the recording's tags, and nothing else changes by that."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from riffusion.audio import Recording, read_audio, write_audio
from riffusion.audio.m4a_cover import next_atom, with_cover
from riffusion.audio.segments import segment_from_samples
from riffusion.audio.tag_reading import read_tags, text_of
from riffusion.audio.tags import NO_TAGS, Picture, Tags
from riffusion.audio.writer import AudioWriter
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.splicing import Kept, New, write_spliced
from riffusion.editing.stems import write_remix
from tests.audio.tagged_files import (
    RATE,
    TEXTS,
    Samples,
    bext,
    chunk,
    chunks_of,
    image,
    info,
    read_by_ffmpeg,
    wav,
    write_tagged,
)
from tests.cli.conftest import Run, run  # noqa: F401 # a fixture
from tests.editing.signals import ROCK, drum_track, steady_beats

IXML = chunk(b"iXML", b"<BWFXML><SCENE>3</SCENE></BWFXML>")
NOT_KEPT = chunk(b"cue ", bytes(28)) + chunk(b"LIST", b"adtl") + chunk(b"smpl", bytes(36))
COVERS = {".flac": image("PNG"), ".mp3": image("JPEG")}
CAFE_LATIN_1 = "Café".encode("latin-1")
SHIFT_JIS = "東京の夜".encode("shift-jis")


def noise(count: int, length: int) -> Samples:
    return np.random.default_rng(3).integers(-9000, 9000, (count, length)).astype(np.int16)


@pytest.fixture
def samples() -> Samples:
    return noise(2, RATE)


def edit(source: Path, output: Path) -> Path:
    """Replace the second quarter by silence."""
    with Recording.open(source) as recording:
        middle = recording.num_samples // 2
        new = New(np.zeros((recording.num_channels, middle // 2), np.float32), 0.0)
        write_spliced(
            recording, [Kept(0, middle // 2), new, Kept(middle, recording.num_samples)], output
        )
    return output


@pytest.mark.parametrize("source", [".flac", ".mp3"])
@pytest.mark.parametrize("target", [".flac", ".mp3", ".ogg", ".m4a", ".wav"])
def test_texts_and_the_cover_are_kept(
    samples: Samples, tmp_path: Path, source: str, target: str
) -> None:
    cover = COVERS[source]
    song = write_tagged(tmp_path / f"song{source}", samples, cover)
    output = edit(song, tmp_path / f"out{target}")
    texts, pictures = read_by_ffmpeg(output)
    assert {name: texts.get(name) for name in TEXTS} == TEXTS
    assert pictures == ([] if target == ".wav" else [cover])
    assert not {"replaygain_track_gain", "tlen", "length"} & texts.keys()
    plain = tmp_path / f"plain{target}"
    with Recording.open(song) as recording:
        recording.tags = NO_TAGS
        written = write_spliced(recording, [Kept(0, recording.num_samples)], plain)
        write_spliced(recording, [Kept(0, recording.num_samples)], output, read_tags(song))
    # The sound is the same with and without tags, and just as long.
    assert read_audio(output).raw_data == read_audio(plain).raw_data
    rate = 48_000 if target == ".ogg" else RATE
    assert read_audio(output).frame_count() == round(written * rate / RATE)
    if target == ".wav":
        assert [name for name, _ in chunks_of(output.read_bytes())].count(b"LIST") == 1


def test_samples_outside_stay_exact_beside_tags(samples: Samples, tmp_path: Path) -> None:
    song = write_tagged(tmp_path / "song.flac", samples, COVERS[".flac"])
    edited, _ = soundfile.read(edit(song, tmp_path / "out.flac"), dtype="int16")
    expected = samples.T.copy()
    expected[RATE // 4 : RATE // 2] = 0
    np.testing.assert_array_equal(edited, expected)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_wav_keeps_its_chunks(tmp_path: Path, place: str, count: int) -> None:
    described = info(CAFE_LATIN_1) + bext(SHIFT_JIS) + IXML
    # 16-bit mono samples of an odd number: the data has no padding, the chunks have.
    samples = noise(count, RATE + 1)
    song = tmp_path / "song.wav"
    song.write_bytes(wav(samples, **{place: NOT_KEPT + described}))
    output = edit(song, tmp_path / "out.wav").read_bytes()
    found = chunks_of(output)
    kept = [(name, content) for name, content in found if name not in (b"fmt ", b"data", b"JUNK")]
    assert b"".join(chunk(name, content) for name, content in kept) == described
    edited, _ = soundfile.read(tmp_path / "out.wav", dtype="int16", always_2d=True)
    middle = (RATE + 1) // 2
    np.testing.assert_array_equal(edited[: middle // 2], samples.T[: middle // 2])
    np.testing.assert_array_equal(edited[middle:], samples.T[middle:])
    again = edit(tmp_path / "out.wav", tmp_path / "again.wav").read_bytes()
    assert again == output  # no chunk is doubled, none is lost


def test_a_wav_of_24_bits_keeps_an_odd_end(tmp_path: Path) -> None:
    samples = noise(1, 999).T.astype(np.int32) << 16
    soundfile.write(tmp_path / "song.wav", samples, RATE, subtype="PCM_24")
    plain = (tmp_path / "song.wav").read_bytes()
    body = plain[8:] + bytes(len(plain) % 2) + IXML
    (tmp_path / "song.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with Recording.open(tmp_path / "song.wav") as recording:
        write_spliced(recording, [Kept(0, 999)], tmp_path / "out.wav")
    found = dict(chunks_of((tmp_path / "out.wav").read_bytes()))
    assert found[b"iXML"] == IXML[8 : 8 + struct.unpack("<I", IXML[4:8])[0]]
    edited, _ = soundfile.read(tmp_path / "out.wav", dtype="int32", always_2d=True)
    np.testing.assert_array_equal(edited, samples)


@pytest.mark.parametrize(
    ("title", "read"),
    [
        (CAFE_LATIN_1, "Café"),
        (SHIFT_JIS, "東京の夜"),
        ("It’s “déçu”".encode("cp1252"), "It’s “déçu”"),
        ("Björk crème Élan".encode("latin-1"), "Björk crème Élan"),
        ("東京".encode("shift-jis"), "東京"),
        ("東京".encode(), "東京"),
        (b"\x81 odd", "\x81 odd"),
    ],
)
def test_texts_in_other_encodings(
    samples: Samples, tmp_path: Path, title: bytes, read: str
) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(wav(samples, before=info(title)))
    assert read_audio(song).frame_count() == RATE
    assert read_by_ffmpeg(edit(song, tmp_path / "out.flac"))[0]["title"] == read
    assert text_of(title.decode("utf-8", "surrogateescape")) == read


def test_damaged_chunks_are_left_out(samples: Samples, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    song.write_bytes(
        wav(samples, after=info(b"Song") + b"iXML" + struct.pack("<I", 700) + b"cut off")
    )
    edit(song, tmp_path / "out.wav")
    names = [name for name, _ in chunks_of((tmp_path / "out.wav").read_bytes())]
    assert (names.count(b"LIST"), names.count(b"iXML")) == (1, 0)
    assert read_tags(tmp_path / "none.wav") == NO_TAGS
    (tmp_path / "text.wav").write_bytes(b"no audio")
    assert read_tags(tmp_path / "text.wav") == NO_TAGS


def test_a_chunk_that_is_too_large_is_told(
    samples: Samples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    song = tmp_path / "song.wav"
    large = chunk(b"iXML", bytes(2**24 - 100))
    song.write_bytes(wav(samples, after=info(b"Song") + large + bext(b"x")))
    edit(song, tmp_path / "out.wav")
    names = [name for name, _ in chunks_of((tmp_path / "out.wav").read_bytes())]
    assert [names.count(name) for name in (b"LIST", b"iXML", b"bext")] == [1, 1, 0]
    (message,) = caplog.messages
    assert message.startswith("the chunk bext of 0.0 MiB is left out of edited files: a wav keeps")


DAY = 86_400 * RATE
LONG_DAY_RATE = 192_000
"""So many samples per second that those of a day need more than 32 bits."""
TIMES = (
    b"<BWFXML><SPEED><TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>%d</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>"
    b"<TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI> %d </TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI></SPEED>"
    b"</BWFXML>"
)


def starting_at(reference: int) -> bytes:
    """Chunks of a recording that starts at a time of the day, in samples."""
    text = TIMES % (reference % 2**32, reference >> 32)
    plain = bext(b"take")
    data = plain[8 : 8 + 338] + struct.pack("<Q", reference) + plain[8 + 346 :]
    return info(b"Song") + chunk(b"bext", data[: len(plain) - 8]) + chunk(b"iXML", text)


@pytest.mark.parametrize(
    ("rate", "reference", "moved_by", "expected"),
    [
        (RATE, 3600 * RATE, 1000, 3600 * RATE + 1000),
        (LONG_DAY_RATE, 2**32 - 5, 12, 2**32 + 7),  # from the lower 32 bits into the upper ones
        (LONG_DAY_RATE, 2**32 + 7, -12, 2**32 - 5),
        (RATE, DAY - 3, 5, 2),  # over midnight
        (RATE, 2, -5, DAY - 3),
        (RATE, 2**63, 0, 2**63),  # as it is, though no day is that long
    ],
)
def test_time_references_move_with_the_start(
    rate: int, reference: int, moved_by: int, expected: int
) -> None:
    tags = Tags(wav_chunks=starting_at(reference))
    assert tags.with_start_moved(moved_by, rate).wav_chunks == starting_at(expected)


def test_chunks_without_a_time_are_as_they_were() -> None:
    chunks = info(b"odd") + chunk(b"bext", b"short") + IXML + chunk(b"id3 ", b"12345")
    assert Tags(wav_chunks=chunks).with_start_moved(9, RATE).wav_chunks == chunks


def test_a_loop_starts_later_on_the_day(tmp_path: Path, run: Run) -> None:  # noqa: F811
    drums = drum_track(ROCK, steady_beats(120, 8, 0.25), 8, sample_rate=RATE)
    song = tmp_path / "song.wav"
    samples = (drums * 20_000).astype(np.int16)
    song.write_bytes(wav(samples, after=starting_at(7 * RATE)))
    result = run("loop", song, "--beats", 4, "-o", tmp_path / "out.wav")
    assert result.code == 0, result.err
    out, _ = soundfile.read(tmp_path / "out.wav", dtype="int16")
    found = dict(chunks_of((tmp_path / "out.wav").read_bytes()))
    (reference,) = struct.unpack("<Q", found[b"bext"][338:346])
    start = reference - 7 * RATE
    assert 0 <= start < len(samples[0]) - len(out) + 1
    # Inside the loop, apart from its seam, the samples are those at that place of the recording.
    middle = slice(len(out) // 4, len(out) // 2)
    expected = samples[0, start:][middle].astype(int)
    assert np.abs(out[middle].astype(int) - expected).max() < 300


def test_long_files_have_the_size_of_all_chunks() -> None:
    from riffusion.audio.wav_chunks import append_chunks

    class File:
        def __init__(self) -> None:
            self.writes: list[tuple[int, bytes]] = []

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.at = offset
            return offset

        def write(self, data: bytes, /) -> int:
            self.writes.append((self.at, data))
            return len(data)

    file = File()
    end = 5 * 2**30 + 1
    append_chunks(file, IXML, b"RF64" + bytes(24), end)
    size = end + 1 + len(IXML) - 8
    assert file.writes == [(end, b"\0" + IXML), (20, struct.pack("<Q", size))]
    file = File()
    append_chunks(file, IXML, b"RIFF" + bytes(24), 2**32 - 10)  # no room for them
    assert file.writes == []


def test_a_cover_needs_no_other_tag(samples: Samples, tmp_path: Path) -> None:
    cover = Picture(image("PNG"), "png", 40, 30)
    path = tmp_path / "out.m4a"
    segment = segment_from_samples(samples, RATE)
    with AudioWriter(path, segment, is_whole=True, tags=Tags(picture=cover)) as writer:
        writer.write(segment)
    assert read_by_ffmpeg(path)[1] == [cover.data]
    assert read_audio(path).frame_count() == RATE
    empty = struct.pack(">I", 8) + b"moov"
    assert with_cover(empty, cover).count(b"mdirappl") == 1


def test_a_cover_that_cannot_be_added_is_told(
    samples: Samples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """FFmpeg's index is the last atom; here it seems not to be."""
    monkeypatch.setattr(
        "riffusion.audio.writer.next_atom", lambda head: (b"free", next_atom(head)[1])
    )
    path = tmp_path / "out.m4a"
    segment = segment_from_samples(samples, RATE)
    cover = Picture(image("PNG"), "png", 40, 30)
    with AudioWriter(path, segment, is_whole=True, tags=Tags(picture=cover)) as writer:
        writer.write(segment)
    assert caplog.messages == [f"{path} gets no cover: its index isn't at its end"]
    assert read_audio(path).frame_count() == RATE


def test_a_recording_from_bytes_has_no_tags(samples: Samples, tmp_path: Path) -> None:
    song = write_tagged(tmp_path / "song.flac", samples, COVERS[".flac"])
    with Recording.open(song.read_bytes()) as recording:
        assert recording.tags == NO_TAGS


def test_a_remix_keeps_tags(tmp_path: Path) -> None:
    song = write_tagged(tmp_path / "song.flac", noise(1, RATE), COVERS[".flac"])
    with Recording.open(song) as recording:
        write_remix(recording, SpectralSeparator(), {"drums": 0.5}, tmp_path / "out.flac")
    texts, pictures = read_by_ffmpeg(tmp_path / "out.flac")
    assert (texts["title"], pictures) == (TEXTS["title"], [COVERS[".flac"]])


def test_retime_drops_a_tempo_that_no_longer_holds(tmp_path: Path, run: Run) -> None:  # noqa: F811
    song = write_tagged(tmp_path / "song.mp3", noise(1, RATE), COVERS[".mp3"])
    output = tmp_path / "out.mp3"
    result = run("retime", song, "--from-tempo", 93, "--tempo", 120, "-o", output)
    assert (result.code, result.err) == (0, "")
    texts, pictures = read_by_ffmpeg(output)
    assert (texts["title"], pictures) == (TEXTS["title"], [COVERS[".mp3"]])
    assert read_tags(song).texts["TBPM"] == "93"
    assert "tbpm" not in texts


def test_written_audio_has_its_texts(samples: Samples, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    write_audio(segment_from_samples(samples, RATE), path, tags={"title": "x" * 5000})
    assert read_by_ffmpeg(path)[0]["title"] == "x" * 5000
    assert read_audio(path).frame_count() == RATE
