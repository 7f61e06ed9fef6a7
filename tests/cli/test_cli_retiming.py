"""retime and loop: what they print and write."""

import re
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import read_audio, write_audio
from riffusion.audio.pcm import samples_from_waveform
from riffusion.audio.segments import samples_from_segment, segment_from_samples
from riffusion.loops.harmony import Key
from tests.cli.conftest import Run
from tests.editing.signals import BREAK, chords, drum_track, steady_beats

RATE = 48_000
DURATION_S = 14.3


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14.3 s in A minor at 93 beats per minute, stereo, 24 bits."""
    beats = steady_beats(93, DURATION_S, 0.3)
    harmony = chords(Key.parse("A minor"), (0, 3, 4, 0), beats, DURATION_S, sample_rate=RATE)
    drums = drum_track(BREAK, beats, DURATION_S, sample_rate=RATE)
    stereo = np.concatenate([harmony + drums, 0.7 * harmony + drums]) * np.float32(0.5)
    path = tmp_path_factory.mktemp("songs") / "song.flac"
    write_audio(segment_from_samples(samples_from_waveform(stereo, 4), RATE), path)
    return path


def test_retime(song: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "new" / "fast.wav"
    result = run("retime", song, "--tempo", 120, "--key", "C minor", "-o", output)
    assert (result.code, result.err) == (0, "")
    first, *lines = result.out.splitlines()
    assert first == "recording   14.30 s, stereo, 48000 Hz, 24 bits"
    assert lines[0].startswith("tempo       93.0")
    assert re.search(r" bpm, steady \(certainty \d+%, else (46\.5\d|186\.\d\d): --from-", lines[0])
    assert lines[1].startswith("key         A minor (certainty ")
    assert lines[2] == "moves       +3 semitones"
    written = read_audio(output)
    assert (written.frame_rate, written.channels, written.sample_width) == (RATE, 2, 4)
    samples = samples_from_segment(written)
    assert samples.shape[1] == pytest.approx(DURATION_S * RATE * 93 / 120, rel=0.0005)
    assert lines[-1] == f"Wrote {output} ({samples.shape[1] / RATE:.2f} seconds)"
    again = run("retime", output, "--key", "C major", "-o", tmp_path / "same.flac")
    assert "moves       +0 semitones" in again.out
    assert "note        the recording is in C minor" in again.out
    # Nothing changes, so the samples are the same.
    np.testing.assert_array_equal(
        samples_from_segment(read_audio(tmp_path / "same.flac")) >> 8, samples + 128 >> 8
    )


def test_a_given_tempo_and_semitones(song: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "slow.flac"
    result = run(
        "retime", song, "--from-tempo", 100, "--tempo", 80, "--semitones", -2, "-o", output
    )
    assert result.code == 0
    printed = [line.split()[0] for line in result.out.splitlines()]
    assert printed == ["recording", "retimed", "Wrote"]
    samples = samples_from_segment(read_audio(output))
    assert samples.shape == (2, round(DURATION_S * RATE * 100 / 80))


def test_loop(song: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "loop.wav"
    result = run("loop", song, "--beats", 4, "--tempo", 100, "--from", "0:05.5", "-o", output)
    assert (result.code, result.err) == (0, "")
    assert "loop        4 beats at 100.00 bpm, from 5.46 s to 8.04 s" in result.out
    assert "seam        " in result.out
    written = read_audio(output)
    assert (written.frame_rate, written.channels, written.sample_width) == (RATE, 2, 4)
    once = samples_from_segment(written)
    assert once.shape == (2, round(4 * 60 / 100 * RATE))
    thrice = tmp_path / "thrice.wav"
    result = run(
        "loop", song, "--beats", 4, "--tempo", 100, "--from", "0:05.5", "--times", 3, "-o", thrice
    )
    assert (result.code, result.err) == (0, "")
    assert f"Wrote {thrice} (7.20 seconds)" in result.out
    assert np.array_equal(samples_from_segment(read_audio(thrice)), np.tile(once, 3))
    refused = run("loop", song, "--times", 0, "-o", tmp_path / "none.wav")
    assert (refused.code, refused.err) == (2, "error: --times: 0 must be from 1 to 1000\n")


@pytest.mark.parametrize("command", [("retime", "--tempo", 100), ("loop",)])
def test_a_file_is_written_whole_or_not_at_all(
    command: tuple[object, ...], tmp_path: Path, run: Run
) -> None:
    silence = tmp_path / "silence.wav"
    write_audio(segment_from_samples(np.zeros((1, 4 * RATE), np.int16), RATE), silence)
    output = tmp_path / "out.wav"
    output.write_bytes(b"before")
    result = run(*command, silence, "-o", output)
    assert result.code == 2
    assert "silent" in result.err
    assert result.err.count("\n") == 1
    assert output.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.wav", "silence.wav"]


def test_more_than_two_channels_are_refused(tmp_path: Path, run: Run) -> None:
    seven = tmp_path / "seven.wav"
    write_audio(segment_from_samples(np.zeros((7, 4 * RATE), np.int16), RATE), seven)
    result = run("retime", seven, "--semitones", 1, "-o", tmp_path / "out.wav")
    assert result.code == 2
    assert "7 channels" in result.err
    assert not (tmp_path / "out.wav").exists()
