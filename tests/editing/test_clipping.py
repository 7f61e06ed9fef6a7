"""Edits say how much of their new sound clips, and stop when nobody wants it any more."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.audio.waveform import Waveform
from riffusion.editing import editor as editor_module
from riffusion.editing import modes
from riffusion.editing.clipping import Clipping
from riffusion.editing.editor import RecordingEditor
from riffusion.editing.melody import Melody, note, sound_of
from riffusion.editing.splicing import New, replacing, spliced
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import ClipGenerator
from tests.editing.modes.edits import answer, encoded
from tests.editing.recordings import noise_of, write
from tests.editing.stems_and_melodies import generator, midi, request, waveform
from tests.patience import PATIENCE_S

__all__ = ["generator", "waveform"]  # fixtures


def loud(peak: float, length: int = 4000) -> Waveform:
    """Half full scale, with three samples of a peak in each channel."""
    sound = np.full((2, length), 0.5, np.float32)
    sound[:, 1000:1003] = -peak
    return sound


@pytest.mark.parametrize(("peak", "above"), [(2.0, "6.1"), (1.001, "0.1")])
def test_new_sound_that_clips_is_told(
    tmp_path: Path, peak: float, above: str, caplog: pytest.LogCaptureFixture
) -> None:
    song = write(tmp_path / "song.wav", noise_of(16, 2, 10_000), 44_100, 16)
    remarks: list[str] = []
    with Recording.open(song) as recording:
        for sound in (loud(peak), iter([loud(peak)[:, :1001], loud(peak)[:, 1001:]])):
            parts = replacing(recording, 3000, 7000, New(sound, 0.0))
            list(spliced(recording, parts, remarks.append))
        assert len(set(remarks)) == 1 and len(remarks) == 2
        assert remarks[0].startswith(
            f"the new sound reaches {above} dB above full scale, and 6 samples are clipped; "
        )
        with caplog.at_level(logging.WARNING):
            list(spliced(recording, replacing(recording, 3000, 7000, New(loud(peak), 0.0))))
            list(spliced(recording, replacing(recording, 3000, 7000, New(loud(1.0), 0.0))))
    assert caplog.messages == remarks[:1]


def test_one_sample_is_counted_as_one() -> None:
    clipping = Clipping()
    clipping.add(np.array([3, -4, 5]), full_scale=4)
    remark = clipping.remark("it", "wait")
    assert remark == "it reaches 2.0 dB above full scale, and 1 sample is clipped; wait"
    clipping = Clipping()
    clipping.add(np.array([32_768, -32_768, 32_767]), full_scale=32_768)  # 16 bits hold no +32768
    remark = clipping.remark("it", "wait")
    assert remark == "it reaches 0.1 dB above full scale, and 1 sample is clipped; wait"
    clipping = Clipping()
    clipping.add(np.zeros((1, 0)))
    assert clipping.remark("it", "wait") is None


def test_the_answer_to_a_request_says_it(
    generator: ClipGenerator,
    waveform: Waveform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        modes, "repaint", lambda recording, *_: replacing(recording, 0, 4000, New(loud(2.0)))
    )
    fields = {"start": {"prompt": "a", "seed": 1}, "region": {"from_s": 0, "to_s": 0.1}}
    output = answer(generator, request("repaint", init_audio=encoded(waveform), **fields))
    assert output.remark is not None
    assert "6.1 dB above full scale, and 6 samples are clipped" in output.remark


def test_an_answer_is_not_encoded_when_its_client_has_left(
    generator: ClipGenerator,
    waveform: Waveform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It leaves while the first block of the first stem is encoded."""
    monkeypatch.setattr(editor_module, "_BLOCK", 4096)
    editor = RecordingEditor(generator)
    resolved = editor.resolve(request("stems", init_audio=encoded(waveform)))
    handle = editor.start(resolved, lambda done, total: None)
    handle.outcome.result(PATIENCE_S)
    blocks: list[int] = []

    class Leaving:
        def __init__(self, recording: Recording, path: object) -> None: ...
        def __enter__(self) -> "Leaving":
            return self

        def __exit__(self, *_: object) -> None: ...
        def write(self, block: object) -> None:
            blocks.append(1)
            handle.cancel()

    monkeypatch.setattr(editor_module, "writer_like", Leaving)
    with pytest.raises(GenerationCancelled):
        editor.finish(handle)
    assert len(blocks) == 1


def test_tones_are_not_computed_further_when_nobody_wants_them(
    generator: ClipGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def stop_at_the_third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise GenerationCancelled("left")

    with pytest.raises(GenerationCancelled):
        sound_of(Melody((note(0, 8, 60), note(1, 8, 64))), stop_at_the_third)
    begun, released = threading.Event(), threading.Event()
    check = ClipGenerator.check_wanted

    def held(self: ClipGenerator) -> None:
        begun.set()
        released.wait(PATIENCE_S)
        check(self)

    monkeypatch.setattr(ClipGenerator, "check_wanted", held)
    editor = RecordingEditor(generator)
    start = {"prompt": "a", "seed": 1}
    inputs = request("follow", init_midi=midi(60, 64, 67), start=start)
    handle = editor.start(editor.resolve(inputs), lambda done, total: None)
    assert begun.wait(PATIENCE_S)
    handle.cancel()
    released.set()
    assert isinstance(handle.outcome.exception(PATIENCE_S), GenerationCancelled)


def test_the_format_of_an_answer_is_checked_at_its_own_rate(
    generator: ClipGenerator,
    waveform: Waveform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flac can't have a recording's 96,001 Hz, but a melody's answer has the model's rate."""
    monkeypatch.setattr("riffusion.editing.melody_mode.check_tracking", lambda: None)
    editor = RecordingEditor(generator)
    fields = {"init_audio": encoded(waveform, 96_001), "audio_format": "flac"}
    start = {"prompt": "a", "seed": 1}
    assert editor.resolve(request("follow", start=start, **fields)).field == "init_audio"
    with pytest.raises(InputError, match=r"audio_format: .*96001 must be a multiple of 10 Hz"):
        editor.resolve(request("remix", gain_db={"drums": 1}, **fields))
