"""Melodies from MIDI files, which the tests write, and their sound, which librosa hears."""

import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import pytest

from riffusion.audio import read_audio, waveform_from_segment
from riffusion.editing import pitch_tracking
from riffusion.editing.melody import Melody, Voice, note, sound_of
from riffusion.editing.midi import melody_from_midi
from riffusion.editing.pitch_tracking import melody_from_sound, pitch_agreement, track_pitch
from riffusion.errors import InputError
from tests.cli.conftest import Run, run

__all__ = ["run"]  # a fixture

RATE = 44_100
SCALE = (60, 64, 67, 72)
MAX_BLOCK_BYTES = 12 * 2**20
"""A dozen arrays of a block's samples; 60 s of samples are 21 MB each."""


def midi_file(
    path: Path, notes: Sequence[tuple[int, int, int, int]], tempo_bpm: float = 120
) -> Path:
    """Write notes of (channel, pitch, first tick, last tick), 480 ticks per beat."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm), time=0))
    events = []
    for channel, pitch, first, last in notes:
        events.append((first, 1, mido.Message("note_on", channel=channel, note=pitch, velocity=90)))
        events.append((last, 0, mido.Message("note_off", channel=channel, note=pitch)))
    now = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    file.tracks.append(track)
    file.save(path)
    return path


def melody(pitches: Sequence[int] = SCALE, beat_s: float = 0.4) -> Melody:
    return Melody(tuple(note(beat_s * n, 0.9 * beat_s, pitch) for n, pitch in enumerate(pitches)))


def test_notes_have_their_times_and_pitches_and_drums_none(tmp_path: Path) -> None:
    path = midi_file(
        tmp_path / "a.mid", [(0, 69, 480, 960), (3, 57, 0, 1920), (9, 38, 0, 100)], tempo_bpm=90
    )
    found = melody_from_midi(path)
    assert [voice.start_s for voice in found.voices] == pytest.approx([0, 60 / 90])
    ends = [voice.end_s for voice in found.voices]
    assert ends == pytest.approx([4 * 60 / 90, 2 * 60 / 90], abs=0.01)
    assert found.pitches_hz(1.0) == pytest.approx([220.0, 440.0])
    assert found.pitches_hz(2.0) == pytest.approx([220.0])
    assert found.pitches_hz(3.0) == []


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ([], "has no notes"),
        ([(9, 36, 0, 480)], "has only drums, which have no pitch"),
        ([(0, 60, 0, 480 * 1300)], "the melody lasts longer than 600 s"),
    ],
)
def test_a_file_without_a_melody_is_refused(
    tmp_path: Path, notes: list[tuple[int, int, int, int]], reason: str
) -> None:
    with pytest.raises(InputError, match=f"^melody: .*{reason}"):
        melody_from_midi(midi_file(tmp_path / "a.mid", notes))


@pytest.mark.parametrize(
    "content", [b"", b"MThd", b"RIFF....WAVEfmt ", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\x99\0"]
)
def test_what_is_no_midi_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(InputError, match=r"^melody: .*a\.mid .*[^: ]$"):
        melody_from_midi(tmp_path / "a.mid")


@pytest.mark.parametrize(
    ("ticks_per_beat", "message", "reason"),
    [
        (480, b"\0\xff\x59\2\x50\7", r"a\.mid is no valid MIDI file .*80 sharps.*export it again"),
        (-25 * 256 + 40, b"", "counts its times in SMPTE frames; export it"),
        (
            480,
            b"\xff" * 200 + b"\x7f\xff\1\0",
            r"a\.mid is no valid MIDI file .*byte 22 .*export it again",
        ),
    ],
)
def test_midi_that_cannot_be_played_is_refused(
    tmp_path: Path, ticks_per_beat: int, message: bytes, reason: str
) -> None:
    """An impossible key signature, times that aren't in beats, and one of 201 bytes."""
    track = message + b"\0\x90\x3c\x40\x83\x60\x80\x3c\0" + b"\0\xff\x2f\0"
    header = b"MThd" + struct.pack(">IHHh", 6, 0, 1, ticks_per_beat)
    (tmp_path / "a.mid").write_bytes(header + b"MTrk" + struct.pack(">I", len(track)) + track)
    with pytest.raises(InputError, match=f"^melody: .*{reason}"):
        melody_from_midi(tmp_path / "a.mid")


def _one_track(events: bytes) -> bytes:
    header = b"MThd" + struct.pack(">IHHh", 6, 0, 1, 480)
    return header + b"MTrk" + struct.pack(">I", len(events)) + events


@pytest.mark.parametrize(
    "before",
    [
        b"",  # a delta-time
        b"\0\x90\x45\x40\x83\x60\x45\0",  # one after a running status
        b"\0\xc0\5\0\xb0\7\x64\0\xe0\0\x40\0\xd0\1\0\xf2\1\1\0\xf3\1",
        b"\0\xff\x58\4\4\2\x18\x08\0\xff\1",  # the length of a text
        b"\0\xf0\3\1\2\xf7\0\xf7",  # that of a system exclusive message
    ],
)
def test_a_number_of_more_than_four_bytes_is_refused_before_mido_adds_it_up(
    before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mido, "MidiFile", lambda **_: pytest.fail("mido reads it"))
    with pytest.raises(InputError, match=f"byte {22 + len(before)} begins a time or length"):
        melody_from_midi(_one_track(before + b"\xff" * 2**18))


def test_numbers_of_four_bytes_and_texts_in_any_encoding_are_read() -> None:
    lyric = "夜空に歌う".encode("shift-jis") * 30
    events = b"\0\xff\5\x80\x80\x82\x2c" + lyric + b"\0\x90\x45\x40\x80\x80\x83\x60\x45\0"
    assert len(lyric) == 0x2C + (2 << 7)
    found = melody_from_midi(_one_track(events + b"\0\xff\x2f\0"))
    assert [(voice.start_s, voice.end_s) for voice in found.voices] == [(0, 0.5)]


def test_pitches_are_those_of_the_notes_that_have_begun_and_have_not_ended() -> None:
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 5, 300))
    voices = tuple(
        note(float(start_s), float(rng.uniform(0, 0.5)), 40 + index % 40)
        for index, start_s in enumerate(starts)
    )
    sounding = Melody(voices)
    times = [*rng.uniform(-1, 7, 100), *(voice.start_s for voice in voices[:50])]
    times += [voice.end_s for voice in voices[:50]]
    for time_s in times:
        wanted = [voice.hz[0] for voice in voices if voice.start_s <= time_s < voice.end_s]
        assert sounding.pitches_hz(time_s) == wanted


def test_the_sound_of_a_melody_has_its_pitches_and_they_are_heard_in_it() -> None:
    wanted = melody()
    sound = sound_of(wanted)
    assert sound.duration_s == pytest.approx(wanted.duration_s, abs=1e-3)
    assert np.abs(sound.waveform).max() == pytest.approx(0.5)
    agreement = pitch_agreement(wanted, sound.waveform, RATE)
    assert agreement.share > 0.98
    assert agreement.num_voiced > 0.9 * agreement.num_sounding
    assert pitch_agreement(melody([pitch + 1 for pitch in SCALE]), sound.waveform, RATE).share < 0.1
    sung = melody_from_sound(sound.waveform, RATE)
    for index in range(len(SCALE)):
        (hz,) = sung.pitches_hz(0.4 * index + 0.2)
        assert 12 * np.log2(hz / 440) + 69 == pytest.approx(SCALE[index], abs=0.2)


@pytest.mark.parametrize("block", [1000, 44_100])
def test_a_sound_is_the_same_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    glide = Voice(0.2, 220 * 2 ** np.linspace(0, 5.5, 150))
    wanted = Melody((*melody().voices, glide))
    monkeypatch.setattr("riffusion.editing.melody._BLOCK", 2**30)
    whole = sound_of(wanted).waveform
    monkeypatch.setattr("riffusion.editing.melody._BLOCK", block)
    assert np.array_equal(sound_of(wanted).waveform, whole)


def test_a_long_note_takes_little_more_memory_than_its_samples() -> None:
    duration_s = 60.0
    tracemalloc.start()
    try:
        sound = sound_of(Melody((note(0.0, duration_s, 96),)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sound.waveform.size == duration_s * RATE
    assert peak < (8 + 4) * sound.waveform.size + MAX_BLOCK_BYTES


@pytest.mark.parametrize("num_frames", [2, 149, 150, 151, 470])
def test_pitches_are_tracked_part_by_part(num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pitch_tracking, "_PART_FRAMES", 150)
    monkeypatch.setattr(pitch_tracking, "_MARGIN_FRAMES", 20)
    hop, sizes = pitch_tracking._HOP_SAMPLES, []

    def tracked(mono: np.ndarray) -> np.ndarray:
        sizes.append(mono.size)
        return np.tile(mono[::hop], (3, 1))

    monkeypatch.setattr(pitch_tracking, "_tracked", tracked)
    expected = 100.0 + np.arange(num_frames)
    sound = np.repeat(expected, hop)[None, : hop * (num_frames - 1) + 1].astype(np.float32)
    hz, probabilities = track_pitch(sound, 22_050)
    assert np.array_equal(hz, expected) and np.array_equal(probabilities, expected)
    assert max(sizes) <= hop * (150 + 2 * 20)


def test_parts_agree_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sound_of(melody()).waveform
    whole, _ = track_pitch(sound, RATE)
    monkeypatch.setattr(pitch_tracking, "_PART_FRAMES", 50)
    monkeypatch.setattr(pitch_tracking, "_MARGIN_FRAMES", 30)
    parts, _ = track_pitch(sound, RATE)
    assert parts.shape == whole.shape
    both = np.isfinite(parts) & np.isfinite(whole)
    assert both.sum() > 0.95 * np.isfinite(whole).sum()
    assert (np.abs(12 * np.log2(parts[both] / whole[both])) < 0.5).mean() > 0.98


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silence_and_noise_have_no_melody(level: float) -> None:
    noise = level * np.random.default_rng(0).standard_normal((1, RATE))
    with pytest.raises(InputError, match="^melody: no pitch was found in the recording"):
        melody_from_sound(noise.astype(np.float32), RATE)


def test_the_embedded_checkpoint_follows_a_melody(tmp_path: Path, run: Run) -> None:
    notes = [(0, pitch, 480 * n, 480 * n + 440) for n, pitch in enumerate((60, 62, 64, 67))]
    path, output = midi_file(tmp_path / "a.mid", notes), tmp_path / "new" / "out.wav"
    result = run(
        "follow", path, "trumpet", "-o", output, "--denoising", 0.4, "--preset", "fast",
        "--seed", 1, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "melody      4 notes or lines, 1.9" in result.out
    assert "are within a quarter tone, at denoising 0.4" in result.out
    made = waveform_from_segment(read_audio(output))
    wanted = melody_from_midi(path)
    assert made.shape == (1, round(wanted.duration_s * RATE))
    agreement = pitch_agreement(wanted, made, RATE)
    assert agreement.share > 0.8
    assert agreement.num_voiced > 0.8 * agreement.num_sounding
    assert np.corrcoef(made[0], sound_of(wanted).waveform[0])[0, 1] < 0.9


@pytest.mark.parametrize(
    ("name", "content"), [("a.mid", b"no MIDI"), ("a.wav", b"no audio"), ("missing.mid", None)]
)
def test_a_file_that_cannot_be_read_is_refused_before_the_checkpoint_is_loaded(
    tmp_path: Path, run: Run, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("follow", tmp_path / name, "trumpet", "-o", tmp_path / "out.wav", "--seed", 1)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert str(tmp_path / name) in result.err
    assert "checkpoint " not in result.out
    assert not (tmp_path / "out.wav").exists()
