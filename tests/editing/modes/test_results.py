"""Edits of recordings in the service, with a tiny model: their results, and a stream's progress."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riffusion.audio import Audio, Recording, join_loops
from riffusion.audio.pcm import waveform_from_samples
from riffusion.audio.waveform import Waveform
from riffusion.diffusion import RiffusionPipeline
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.splicing import New, spliced, write_spliced
from riffusion.editing.varying import between, vary
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.model.clip_service import ClipService
from tests.editing.modes.edits import (
    DURATION_S,
    RATE,
    SMALLEST,
    TEMPO_BPM,
    answer,
    edit,
    encoded,
    repainted,
    samples_of,
)


def test_the_answer_is_the_file_that_the_function_writes(
    generator: ClipGenerator, song: str, tmp_path: Path
) -> None:
    inputs = repainted(song)
    output = answer(generator, inputs)
    with Recording.open(base64.b64decode(song)) as recording:
        parts = repaint(recording, generator, inputs, Region(2.0, 4.0))
        write_spliced(recording, parts, tmp_path / "out.wav")
    assert base64.b64decode(output.audio.split(",")[1]) == (tmp_path / "out.wav").read_bytes()
    assert (output.duration_s, output.image_from_s) == (DURATION_S, 2.0)


@pytest.mark.parametrize(
    ("mode", "fields", "duration_s", "known"),
    [
        ("restyle", {"prompts_at": [{"at_s": 4.0, "prompt": "flute"}]}, 8.0, {}),
        ("extend", {"after_s": 2.5, "before_s": 1.0}, 11.5, {"tempo_bpm": TEMPO_BPM}),
        (
            "loop",
            {"beats": 4, "tempo_bpm": 100},
            2.4,
            {"tempo_bpm": 100.0, "beats": 4, "found_tempo_bpm": TEMPO_BPM},
        ),
        ("loop", {"from_s": 2.1, "beats": 8}, 4.0, {"from_s": 2.0, "to_s": 6.0}),
        (
            "retime",
            {"tempo_bpm": 150, "key": "C major"},
            6.4,
            {"tempo_bpm": 150.0, "found_key": "A minor", "key": "C minor", "semitones": 3.0},
        ),
        ("retime", {"semitones": -2}, 8.0, {"semitones": -2.0}),
        ("retime", {"from_tempo_bpm": 120, "tempo_bpm": 60}, 16.0, {"tempo_bpm": 60.0}),
    ],
)
def test_each_mode(
    generator: ClipGenerator,
    song: str,
    mode: str,
    fields: dict[str, Any],
    duration_s: float,
    known: dict[str, Any],
) -> None:
    output = answer(generator, edit(song, mode, **fields))
    assert output.duration_s == pytest.approx(duration_s, rel=2e-3)
    assert samples_of(output).shape == (2, round(output.duration_s * RATE))
    for name, value in known.items():
        expected = pytest.approx(value, rel=5e-3) if isinstance(value, float) else value
        assert getattr(output, name) == expected, name
    if "tempo_bpm" in known and "from_tempo_bpm" not in fields:
        assert output.tempo_certainty is not None
    if "key" in known:
        assert output.key_certainty is not None and output.key_certainty > 0.3
        assert output.remark is not None and "keeps minor" in output.remark
    assert output.image_from_s == 0


@pytest.fixture
def alone(pristine: Path) -> Iterator[ClipGenerator]:
    """A generator whose canvases never share a UNet call, as that would change last bits."""
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SMALLEST
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    yield generator
    generator.close()


def test_the_piece_between_two_recordings_is_that_of_the_function(
    alone: ClipGenerator, waveform: Waveform, tmp_path: Path
) -> None:
    first = encoded(waveform[:, : 2 * RATE])
    last = encoded(waveform[:1, RATE : RATE + 8000], 16_000)
    fields = {"init_audio_b": last, "num_clips": 3, "end": {"prompt": "bells", "seed": 9}}
    inputs = edit(first, "between", **fields)
    output = answer(alone, inputs)
    with (
        Recording.open(base64.b64decode(first)) as one,
        Recording.open(base64.b64decode(last)) as other,
    ):
        made = between(one, other, alone, inputs, 3)
        sounds = [np.concatenate(list(spliced(one, parts)), axis=1) for parts in made.clips]
        clips = [Audio(waveform_from_samples(sound), RATE) for sound in sounds]
        piece = New(join_loops(clips, 0.1).waveform, 0.0)
        write_spliced(one, [piece], tmp_path / "out.wav")
    assert base64.b64decode(output.audio.split(",")[1]) == (tmp_path / "out.wav").read_bytes()
    assert samples_of(output).shape == (2, 3 * RATE // 2)
    assert (output.duration_s, output.image_from_s) == (1.5, 0)
    assert output.closeness is not None
    assert [each.image_error for each in output.closeness] == [
        each.image_error for each in made.closeness
    ]


def test_a_variation_is_that_of_the_function(
    alone: ClipGenerator, waveform: Waveform, tmp_path: Path
) -> None:
    song = encoded(waveform[:, :RATE])
    for fields, amount in (({}, 0.2), ({"amount": 0.0}, 0.0)):
        inputs = edit(song, "vary", **fields)
        output = answer(alone, inputs)
        with Recording.open(base64.b64decode(song)) as recording:
            made = vary(recording, alone, inputs, amount, 1)
            write_spliced(recording, made.clips[0], tmp_path / "out.wav")
        found = base64.b64decode(output.audio.split(",")[1])
        assert found == (tmp_path / "out.wav").read_bytes()
        assert output.model_dump()["closeness"] == [vars(each) for each in made.closeness]


@pytest.mark.parametrize("mode", ["extend", "retime"])
def test_the_steps_of_a_stream_never_go_back(
    generator: ClipGenerator, song: str, mode: str
) -> None:
    fields = {"after_s": 1.0, "before_s": 1.0, "tempo_bpm": 121.0}
    if mode == "retime":
        fields = {"tempo_bpm": 110.0}

    async def scenario() -> list[Any]:
        job = await ClipService(generator).submit(edit(song, mode, **fields))
        return [json.loads(line) async for line in job.ndjson()]

    *progress, last = asyncio.run(scenario())
    assert last["event"] == "result"
    steps = [event["step"] for event in progress]
    assert steps == sorted(steps)
    assert len(set(steps)) == 2
    assert progress[-1]["step"] == progress[-1]["steps"]
