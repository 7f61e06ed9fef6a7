"""Modes stems, remix and follow in the service, with a tiny model: results and bad input."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from riffusion.audio import Recording
from riffusion.audio.waveform import Waveform
from riffusion.editing import limits
from riffusion.editing.following import follow_closely
from riffusion.editing.midi import melody_from_midi
from riffusion.editing.restyled_stems import write_restyled_remix
from riffusion.editing.restyling import restyle
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.stems import write_remix
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.serving.model.clip_service import ClipService
from tests.editing.modes.edits import RATE, answer, encoded
from tests.editing.stems_and_melodies import (
    DURATION_S,
    decoded,
    generator,
    midi,
    request,
    samples,
    waveform,
)
from tests.serving.held_unet import HeldUNet

__all__ = ["generator", "waveform"]  # fixtures


SAMPLING = {"num_inference_steps": 2, "scheduler": "ddim"}
STEMS = SpectralSeparator.names


@pytest.mark.parametrize(("subtype", "format"), [("PCM_16", "wav"), ("PCM_24", "flac")])
def test_stems_add_up_to_the_recording_bit_for_bit(
    generator: ClipGenerator, waveform: Waveform, subtype: str, format: str
) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.T, RATE, format="WAV", subtype=subtype)
    song = base64.b64encode(buffer.getvalue()).decode()
    output = answer(generator, request("stems", init_audio=song, audio_format=format))
    assert output.stems is not None and tuple(output.stems) == STEMS
    whole = samples(buffer.getvalue())
    total = sum(samples(decoded(stem)).astype(np.int64) for stem in output.stems.values())
    np.testing.assert_array_equal(total, whole)
    np.testing.assert_array_equal(samples(decoded(output.audio)), whole)
    assert output.duration_s == DURATION_S
    assert np.abs(samples(decoded(output.stems["drums"]))).max() > 2**28


def test_a_remix_is_that_of_the_function(
    generator: ClipGenerator, waveform: Waveform, tmp_path: Path
) -> None:
    song = encoded(waveform)
    inputs = request("remix", init_audio=song, gain_db={"drums": 6.0, "bass": -3}, mute=["bass"])
    with pytest.raises(InputError, match="gain_db: 'bass' is muted, too; leave out one"):
        answer(generator, inputs)
    inputs = request("remix", init_audio=song, gain_db={"drums": 6.0}, mute=["bass"])
    output = answer(generator, inputs)
    with Recording.open(base64.b64decode(song)) as recording:
        gains = {"drums": 10 ** (6 / 20), "bass": 0.0}
        write_remix(recording, SpectralSeparator(), gains, tmp_path / "out.wav")
    assert decoded(output.audio) == (tmp_path / "out.wav").read_bytes()
    assert output.stems is None
    assert output.remark is not None
    assert "samples are clipped; lower all gains by that much" in output.remark
    quieter = request("remix", init_audio=song, gain_db={"drums": -6})
    assert answer(generator, quieter).remark is None


def test_a_stem_with_another_sound_is_that_of_the_function(
    generator: ClipGenerator, waveform: Waveform, tmp_path: Path
) -> None:
    song = encoded(waveform)
    start = {"prompt": "", "seed": 3, "denoising": 0.6}
    inputs = request(
        "remix", init_audio=song, restyle={"harmonic": "choir"}, start=start, **SAMPLING
    )
    output = answer(generator, inputs)
    drawn = inputs.model_copy(
        update={"start": inputs.start.model_copy(update={"prompt": "choir"}), "mode": "restyle"}
    )
    with Recording.open(base64.b64decode(song)) as recording:
        write_restyled_remix(
            recording,
            SpectralSeparator(),
            {"harmonic": lambda stem: restyle(stem, generator, drawn)},
            {},
            tmp_path / "out.wav",
        )
    assert decoded(output.audio) == (tmp_path / "out.wav").read_bytes()


@pytest.mark.parametrize(
    ("mode", "fields", "least"),
    [
        ("stems", {}, 3),
        ("remix", {"mute": ["bass"]}, 3),
        ("remix", {"restyle": {"drums": "choir"}, **SAMPLING}, 4),
    ],
)
def test_a_stream_shows_how_far_the_stems_are(
    generator: ClipGenerator, waveform: Waveform, mode: str, fields: dict[str, Any], least: int
) -> None:
    song = encoded(np.tile(waveform, 7))  # more than two blocks of the separator

    async def scenario() -> list[Any]:
        job = await ClipService(generator).submit(request(mode, init_audio=song, **fields))
        return [json.loads(line) async for line in job.ndjson()]

    *progress, last = asyncio.run(scenario())
    assert last["event"] == "result"
    steps = [event["step"] for event in progress]
    assert len(steps) >= least and steps == sorted(steps)
    assert progress[-1]["step"] == progress[-1]["steps"]


@pytest.mark.parametrize("denoising", [None, 0.3])
def test_a_melody_in_midi_is_played(generator: ClipGenerator, denoising: float | None) -> None:
    start: dict[str, Any] = {"prompt": "flute", "seed": 1}
    if denoising is not None:
        start["denoising"] = denoising
    inputs = request("follow", init_midi=midi(69, 72), start=start, **SAMPLING)
    output = answer(generator, inputs)
    melody = melody_from_midi(base64.b64decode(midi(69, 72)))
    tried = (0.5, 0.45, 0.4) if denoising is None else (denoising,)
    made = follow_closely(melody, generator, inputs, tried)
    assert made.agreement is not None
    assert output.pitch_agreement == made.agreement.share
    assert output.denoising == made.denoising in tried
    found = soundfile.read(io.BytesIO(decoded(output.audio)), dtype="float32")[0]
    np.testing.assert_allclose(found, made.waveform[0].clip(-1, 1), atol=2**-14)
    assert output.duration_s == pytest.approx(1.0, abs=0.01)


def test_a_sung_line_is_played(generator: ClipGenerator) -> None:
    t = np.arange(RATE) / RATE
    line = sum(0.2 / n * np.sin(2 * np.pi * 330 * n * t) for n in range(1, 5))
    start = {"prompt": "flute", "seed": 1, "denoising": 0.3}
    song = encoded(np.float32(line)[None])
    output = answer(generator, request("follow", init_audio=song, start=start, **SAMPLING))
    assert output.duration_s == pytest.approx(1.0, abs=0.1)
    assert output.pitch_agreement is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "gain_db: name a stem to change"),
        ({"gain_db": {"vocals": 3.0}}, r"gain_db\.vocals.*'drums', 'bass', 'harmonic' or 'resid"),
        ({"gain_db": {"drums": 41.0}}, r"gain_db\.drums.*less than or equal to 40"),
        ({"gain_db": {"drums": "+6dB"}}, r"gain_db\.drums.*valid number, not '\+6dB'"),
        ({"mute": ["piano"]}, r"mute\.0.*'drums', 'bass', 'harmonic' or 'residual'"),
        ({"restyle": {"bass": " "}}, r"restyle\.bass: the text is empty"),
        ({"restyle": {"bass": "(a:900)"}}, r"restyle\.bass: .*900"),
        ({"restyle": {"bass": "a"}, "mute": ["bass"]}, "restyle: 'bass' is muted, too"),
        ({"mute": ["bass"], "loras": [{"id": "a"}]}, "loras: mode=remix draws nothing"),
        ({"mute": ["bass"], "preset": "fast"}, "preset: .* no effect in mode=remix without restyl"),
        ({"mute": ["bass"], "init_midi": "TVRoZA=="}, "init_midi: only for mode=follow"),
    ],
)
def test_a_bad_remix_is_refused_before_the_model_runs(
    generator: ClipGenerator,
    waveform: Waveform,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    message: str,
) -> None:
    unet = HeldUNet(generator, monkeypatch)
    with pytest.raises(InputError, match=message):
        answer(generator, request("remix", init_audio=encoded(waveform), **fields))
    assert unet.num_calls == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "init_audio: mode=follow edits a recording"),
        ({"init_midi": "TVRoZA=="}, "init_midi: the file is no valid MIDI file"),
        ({"init_midi": "!"}, "init_midi: .*base64"),
        ({"init_midi": midi()}, "init_midi: the file has no notes"),
        ({"init_midi": midi(40, channel=9)}, "init_midi: the file has only drums"),
        ({"init_midi": midi(60, ticks=480 * 250)}, "init_midi: the melody lasts 125.0 s"),
        ({"init_midi": midi(*[60, 72] * 6000, ticks=1)}, "its 12000 notes 7[0-9]{2} s together"),
        ({"init_midi": "A" * 400_000}, "init_midi: 300000 bytes"),
        (
            {"init_midi": midi(60), "init_audio": "UklGRg=="},
            "init_midi: mode=follow takes it in place of init_audio",
        ),
        ({"init_audio": encoded(np.zeros((1, RATE), np.float32))}, "init_audio: .*(pitch|silen)"),
        ({"init_midi": midi(60), "end": {"prompt": "a", "seed": 2}}, "end: has no effect"),
    ],
)
def test_a_bad_melody_is_refused_before_the_model_runs(
    generator: ClipGenerator,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    message: str,
) -> None:
    unet = HeldUNet(generator, monkeypatch)
    start = {"prompt": "flute", "seed": 1}
    with pytest.raises(InputError, match=message):
        answer(generator, request("follow", **{"start": start} | fields))
    assert unet.num_calls == 0


def test_stems_too_large_for_an_answer_are_refused(
    generator: ClipGenerator, waveform: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ANSWER_BYTES", 2**20)
    with pytest.raises(InputError, match=r"init_audio: 3\.0 s take .* send a shorter part"):
        answer(generator, request("stems", init_audio=encoded(waveform)))
