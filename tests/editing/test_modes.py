"""Edits of recordings in the service, with a tiny model: results, company, leaving, limits."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from diffusers import DDIMScheduler

from riffusion.audio import Audio, Recording, join_loops
from riffusion.audio.pcm import waveform_from_samples
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import EditOutput, InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.edit_fields import MODES_OF_NOISE, MODES_WITHOUT_CHECKPOINT
from riffusion.editing import limits
from riffusion.editing.editor import MAX_EDITS_AT_ONCE
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.splicing import New, spliced, write_spliced
from riffusion.editing.varying import between, vary
from riffusion.errors import (
    DeadlineExceededError,
    GenerationCancelled,
    InputError,
    OverloadedError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.loops.harmony import Key
from riffusion.serving.model.clip_service import ClipService
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.signals import ROCK, chords, drum_track, steady_beats
from tests.patience import PATIENCE_S
from tests.serving.test_clip_service import HeldUNet

RATE = 22_050
TINY = SpectrogramParams(
    sample_rate=11_025,
    max_frequency=5000,
    num_frequencies=48,
    step_size_ms=80,
    window_duration_ms=200,
    padded_duration_ms=400,
)
SMALLEST = SpectrogramParams(
    num_frequencies=16, step_size_ms=160, window_duration_ms=400, padded_duration_ms=400
)
"""A clip is 32 frames of 16 bands, so that many steps are quick."""
TEMPO_BPM = 120.0
DURATION_S = 8.0
CLIP = InferenceInput.parse(
    {
        "start": {"prompt": "bells", "seed": 1},
        "mode": "txt2img",
        "duration_s": 5.12,
        "num_inference_steps": 2,
        "scheduler": "ddim",
    }
)


@pytest.fixture(scope="module")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = TINY
    generator = ClipGenerator(pipeline, SeedLibrary.default(None))
    yield generator
    generator.close()


@pytest.fixture
def unet(generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)


def encoded(waveform: Waveform, rate: int = RATE, format: str = "WAV") -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.T, rate, format=format)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def waveform() -> Waveform:
    """Four bars of a song in A minor at 120 beats per minute, in stereo."""
    beats = steady_beats(TEMPO_BPM, DURATION_S)
    harmony = chords(Key.parse("A minor"), (0, 5, 3, 4), beats, DURATION_S, sample_rate=RATE)
    drums = drum_track(ROCK, beats, DURATION_S, sample_rate=RATE)
    return np.concatenate([harmony + drums, 0.7 * harmony + drums]) * np.float32(0.4)


@pytest.fixture(scope="module")
def song(waveform: Waveform) -> str:
    return encoded(waveform)


def edit(song: str, mode: str, **fields: Any) -> InferenceInput:
    request = {"mode": mode, "init_audio": song, "audio_format": "wav"}
    if mode not in MODES_WITHOUT_CHECKPOINT:
        request["start"] = {"prompt": "piano", "seed": 1}
        request |= {"num_inference_steps": 2, "scheduler": "ddim"}
    if mode in MODES_OF_NOISE:
        request["num_inference_steps"] = 5
    if mode == "between":
        request["init_audio_b"] = song
    return InferenceInput.parse(request | fields)


def repainted(song: str, **fields: Any) -> InferenceInput:
    return edit(song, "repaint", region={"from_s": 2.0, "to_s": 4.0}, **fields)


def answer(generator: ClipGenerator, inputs: InferenceInput) -> EditOutput:
    async def scenario() -> Any:
        job = await ClipService(generator).submit(inputs)
        try:
            return await job.result(lambda: False)
        finally:
            await job.task

    output = asyncio.run(scenario())
    assert isinstance(output, EditOutput)
    return output


def samples_of(output: EditOutput) -> np.ndarray:
    data = base64.b64decode(output.audio.split(",")[1])
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    assert rate == RATE
    return np.asarray(samples.T)


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


@pytest.mark.parametrize("mode", MODES_OF_NOISE)
def test_own_noise_needs_a_checkpoint_that_can_be_inverted(
    generator: ClipGenerator,
    unet: HeldUNet,
    song: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = generator.pipeline.scheduler
    other = DDIMScheduler.from_config(scheduler.config, prediction_type="sample")
    monkeypatch.setattr(generator.pipeline, "scheduler", other)
    unet.released.set()
    with pytest.raises(InputError, match="checkpoint: .* predicts finished latents"):
        answer(generator, edit(song, mode))
    assert unet.num_calls == 0


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


def test_a_clip_is_done_while_an_edit_goes_on(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        long = await service.submit(repainted(song, num_inference_steps=8))
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        short = await service.submit(CLIP)
        unet.released.set()
        await asyncio.wrap_future(short.handle.outcome)
        assert not long.handle.outcome.done()
        assert (await short.result(lambda: False)).duration_s == 5.12
        assert (await long.result(lambda: False)).duration_s == DURATION_S
        await asyncio.gather(long.task, short.task)

    asyncio.run(scenario())


def test_an_edit_stops_at_the_next_step_when_its_client_leaves(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        job = await ClipService(generator).submit(repainted(song))
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        with pytest.raises(GenerationCancelled):
            await job.result(lambda: True)
        unet.released.set()
        await job.task

    asyncio.run(scenario())
    assert unet.num_calls == 1


def test_an_edit_has_a_deadline(generator: ClipGenerator, unet: HeldUNet, song: str) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        with pytest.raises(DeadlineExceededError, match=r"deadline_s=0\.5"):
            job = await service.submit(repainted(song, deadline_s=0.5))
            await asyncio.sleep(0.6)
            unet.released.set()
            await job.result(lambda: False)
            await job.task

    asyncio.run(scenario())


def test_edits_share_the_slots_and_those_that_wait_stop_at_once(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=0)
        num_slots = generator.engine.max_num_running
        jobs = [await service.submit(repainted(song)) for _ in range(num_slots)]
        with pytest.raises(OverloadedError):
            await service.submit(repainted(song))
        for job in jobs[MAX_EDITS_AT_ONCE:]:  # the editor's threads haven't begun them
            job.stop()
            with pytest.raises(GenerationCancelled):
                await job.result(lambda: False)
            await job.task
        jobs.append(await service.submit(repainted(song)))
        for job in jobs:
            job.stop()
        unet.released.set()
        await asyncio.gather(*(job.task for job in jobs))

    asyncio.run(scenario())


def test_an_edit_that_waits_for_the_engine_stops_at_once_when_its_client_leaves(
    pristine: Path, monkeypatch: pytest.MonkeyPatch, song: str
) -> None:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = TINY
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    unet = HeldUNet(generator, monkeypatch)

    async def scenario() -> None:
        service = ClipService(generator)
        clip = await service.submit(CLIP)
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        waiting = await service.submit(repainted(song))
        waiting.stop()
        unet.released.set()
        with pytest.raises(GenerationCancelled):
            await waiting.result(lambda: False)
        await asyncio.gather(clip.task, waiting.task)

    asyncio.run(scenario())
    generator.close()
    assert unet.num_calls == 2  # the clip's


SILENCE = np.zeros((1, 3 * RATE), np.float32)
SHORT = encoded(SILENCE[:, :1100])
SEVEN = encoded(np.tile(SILENCE, (7, 1)))
MINUTE = np.zeros((1, 60 * 8000), np.float32)


@pytest.mark.parametrize(
    ("mode", "fields", "recording", "message"),
    [
        ("repaint", {"region": {"from_s": 7, "to_s": 9}}, None, "region.to_s: 9 is after the"),
        ("repaint", {"region": {"from_s": 3, "to_s": 2}}, None, "region.to_s: the region from 3 s"),
        ("repaint", {"region": {"from_s": 2, "to_s": 2}}, None, "region.to_s: the region from 2 s"),
        (
            "repaint",
            {"region": {"from_s": 2, "to_s": 3, "low_hz": 500, "high_hz": 500}},
            None,
            "region.high_hz: 500 must be above low_hz=500",
        ),
        (
            "repaint",
            {"region": {"from_s": 2, "to_s": 3, "low_hz": 11_025}},
            None,
            "region.low_hz: 11025 must be below 11025 Hz",
        ),
        (
            "repaint",
            {"region": {"from_s": 2, "to_s": 3, "low_hz": 10_999.0}},
            None,
            "region.low_hz: 10999: none of the model's 48 frequencies",
        ),
        ("repaint", {"region": {"from_s": 0, "to_s": 0.05}}, SILENCE[:, :1100], "init_audio: the "),
        ("restyle", {}, np.tile(SILENCE, (7, 1)), "init_audio: the file has 7 channels; at most 2"),
        ("restyle", {"prompts_at": [{"at_s": 9, "prompt": "a"}]}, None, "prompts_at: 9 must be a"),
        ("restyle", {"start": {"prompt": "(a:101)", "seed": 1}}, None, "start.prompt: "),
        ("restyle", {}, np.zeros((1, 61 * 8000), np.float32), "init_audio: the audio is longer t"),
        ("extend", {"after_s": 115}, None, "after_s: the result would last 123.0 s; at most 120 s"),
        ("extend", {"after_s": 0}, None, "after_s: is 0, and so is before_s"),
        ("extend", {}, SILENCE, "init_audio: the recording is silent, so it has no tempo"),
        ("extend", {"tempo_bpm": 30}, SILENCE, "init_audio: a bar of 8 s must be longer than 0 an"),
        ("between", {"num_clips": 16}, None, "num_clips: the result would last 128.0 s; at most"),
        ("between", {}, SILENCE[:, :1100], "init_audio: the recording lasts 0.050 s, at least 0.5"),
        ("between", {"init_audio_b": SHORT}, None, "init_audio_b: the recording lasts 0.050 s, at"),
        ("between", {"init_audio_b": SEVEN}, None, "init_audio_b: the file has 7 channels; at mos"),
        ("between", {"init_audio_b": "###"}, None, "init_audio_b: is no"),
        ("between", {"num_inference_steps": 4}, None, "num_inference_steps: 4 must be from 5 to 1"),
        ("between", {"end": {"prompt": "(a:101)", "seed": 1}}, None, "end.prompt: "),
        ("between", {"loras": [{"id": "none"}]}, None, "loras: 'none'"),
        ("vary", {}, SILENCE[:, :1100], "init_audio: the recording lasts 0.050 s, at least 0.5 s "),
        ("vary", {}, np.zeros((1, 61 * 8000), np.float32), "init_audio: the audio is longer than "),
        ("vary", {"num_inference_steps": 2}, None, "num_inference_steps: 2 must be from 5 to 150"),
        ("vary", {"start": {"prompt": "(a:101)", "seed": 1}}, None, "start.prompt: "),
        ("vary", {"loras": [{"id": "none"}]}, None, "loras: 'none'"),
        ("loop", {}, SILENCE, "init_audio: the recording is silent, so it has no tempo"),
        ("loop", {"beats": 17}, None, "beats: 17 are more than the recording has: 16 whole beats"),
        ("loop", {"beats": 250, "tempo_bpm": 90}, None, "beats: the result would last 166.7 s"),
        ("loop", {"from_s": 8.5}, None, "from_s: 8.50 s is after the recording's end"),
        ("retime", {"tempo_bpm": 90}, SILENCE, "init_audio: the recording is silent, so it has n"),
        ("retime", {"key": "A"}, SILENCE, "init_audio: the recording is silent, so it has no key"),
        ("retime", {"key": "H minor"}, None, "key: 'H minor' is not a key; write a note (C, "),
        ("retime", {}, None, "tempo_bpm: nothing to change; name the tempo_bpm, the key or the se"),
        ("retime", {"key": "C", "semitones": 1}, None, "semitones: 1 can't be combined with a key"),
        ("retime", {"from_tempo_bpm": 90}, None, "from_tempo_bpm: 90 needs a tempo to change to"),
        (
            "retime",
            {"from_tempo_bpm": 270, "tempo_bpm": 90},
            MINUTE,
            "tempo_bpm: the result would last 180.0 s; at most 120 s",
        ),
        (
            "retime",
            {"tempo_bpm": 40, "from_tempo_bpm": 200},
            None,
            "tempo_bpm: 40 is more than 4 times as fast or as slo",
        ),
        (
            "restyle",
            {"audio_format": "flac"},
            "88201 Hz",
            "audio_format: sample_rate=88201 must be a multiple of 10 Hz",
        ),
    ],
)
def test_what_can_not_be_done_is_refused_before_the_model_is_used(
    generator: ClipGenerator,
    unet: HeldUNet,
    song: str,
    mode: str,
    fields: dict[str, Any],
    recording: Any,
    message: str,
) -> None:
    unet.released.set()
    if isinstance(recording, str):
        song = encoded(np.ones((1, 88_201), np.float32), 88_201)
    elif recording is not None:
        song = encoded(recording, 8000 if recording.shape[1] >= 60 * 8000 else RATE)
    with pytest.raises(InputError) as caught:
        answer(generator, edit(song, mode, **fields))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert unet.num_calls == 0


def test_large_recordings_are_refused(
    generator: ClipGenerator, song: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = round(DURATION_S * RATE) * 2 * 2
    monkeypatch.setattr(limits, "MAX_RECORDING_BYTES", size)
    answer(generator, edit(song, "retime", semitones=0))
    with pytest.raises(InputError, match=r"after_s: 8\.1 s at 22050 Hz and 16 bits take 1 MiB"):
        answer(generator, edit(song, "extend", after_s=0.1))
    monkeypatch.setattr(limits, "MAX_RECORDING_BYTES", size - 1)
    with pytest.raises(InputError, match=r"init_audio: 8\.0 s at 22050 Hz .*send a shorter part"):
        answer(generator, edit(song, "retime", semitones=0))


def test_a_recording_that_is_not_audio_is_refused(generator: ClipGenerator) -> None:
    for text, message in (("UklGRg==", "init_audio: not a readable"), ("###", "init_audio: is no")):
        with pytest.raises(InputError) as caught:
            answer(generator, edit(text, "loop"))
        assert str(caught.value).startswith(message)
