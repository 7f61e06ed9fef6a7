"""Edits that can't be done are refused before the model is used."""

from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler

from riffusion.edit_fields import MODES_OF_NOISE
from riffusion.editing import limits
from riffusion.errors import InputError
from riffusion.generation.generator import ClipGenerator
from tests.editing.modes.edits import DURATION_S, RATE, answer, edit, encoded
from tests.serving.held_unet import HeldUNet


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
