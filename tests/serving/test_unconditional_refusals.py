"""What an unconditional checkpoint can't do, and what has no effect, is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.serving.model.clip_service import ClipService
from tests.generation.unconditional_checkpoints import write_checkpoint
from tests.serving.held_unet import INPUTS as TEXT_REQUEST
from tests.serving.unconditional_requests import (
    LOSSLESS,
    answer,
    assert_is_clip,
    body,
    folder,
    generator,
    request,
    song,
)

__all__ = ["folder", "generator"]  # fixtures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": {"prompt": "bells"}}, "start.prompt: has no effect in mode=unconditional: its"),
        ({"start": {"negative_prompt": "hum"}}, "start.negative_prompt: 'hum' has no effect"),
        ({"start": {"guidance": 3.0}}, "start.guidance: 3.0 has no effect"),
        ({"start": {"denoising": 0.5}}, "start.denoising: 0.5 needs audio to vary; send init_a"),
        ({"start": {"denoising": 0}, "init_audio": "a"}, "start.denoising: 0 leaves no step"),
        ({"start": {"seed": 2**63}}, "start.seed: "),
        ({"start": None}, "start: "),
        ({"end": {"seed": 2}}, "end: has no effect in mode=unconditional: it has one seed"),
        ({"alpha": 0.5}, "alpha: has no effect"),
        ({"preset": "fast"}, "preset: 'fast' has no effect"),
        ({"guidance_interval": [0, 0.5]}, "guidance_interval: (0.0, 0.5) has no effect"),
        ({"seed_image_id": "vibes"}, "seed_image_id: 'vibes' has no effect"),
        ({"mask_image_id": "mask_gradient_dark"}, "mask_image_id: has no effect"),
        ({"mask_image": "a"}, "mask_image: has no effect"),
        ({"init_image": "a"}, "init_image: has no effect in mode=unconditional: it starts from a"),
        ({"duration_s": 3.0}, "duration_s: has no effect in mode=unconditional: its checkpoint"),
        ({"loras": [{"id": "bells"}]}, "loras: has no effect"),
        ({"scheduler": "pndm"}, "scheduler: 'pndm' must be ddpm or ddim for mode=unconditional"),
        ({"num_inference_steps": 151}, "num_inference_steps: "),
        ({"tempo_bpm": 120.0}, "tempo_bpm: only for mode=img2img"),
        ({"region": {"from_s": 0.1, "to_s": 0.2}}, "region: only for mode=repaint"),
    ],
)
def test_what_has_no_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    start = changes.pop("start", {})
    values = body(**changes)
    values["start"] = None if start is None else {**values["start"], **start}
    with pytest.raises(InputError) as refusal:
        InferenceInput.parse(values)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("mode", ["img2img", "vary", "txt2img"])
def test_ddpm_is_for_this_mode_alone(mode: str) -> None:
    start = {"prompt": "bells", "seed": 1}
    values = {"start": start, "mode": mode, "scheduler": "ddpm"}
    values |= {"init_audio": "a"} if mode == "vary" else {}
    with pytest.raises(InputError, match=r"^scheduler: 'ddpm' is only for mode=unconditional"):
        InferenceInput.parse(values)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (TEXT_REQUEST, r"^mode: 'txt2img' needs a checkpoint that takes a prompt, and this server"),
        (
            InferenceInput.parse({"mode": "stems", "init_audio": song()}),
            r"^mode: 'stems' needs .*; use mode=unconditional$",
        ),
        (request(init_audio=song(0.9)), r"^init_audio: the audio of 0\.67 s is shorter than a"),
        (request(init_audio="aGVsbG8="), "^init_audio: "),
        (request(init_audio="%"), "^init_audio: "),
    ],
)
def test_what_the_checkpoint_cannot_do_costs_no_slot(
    generator: UnconditionalGenerator, inputs: InferenceInput, message: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=0)
        with pytest.raises(InputError, match=message):
            await service.submit(inputs)
        job = await service.submit(request())
        await job.result(lambda: False)

    asyncio.run(scenario())


def test_a_short_noise_schedule_names_the_request_s_field(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "folder")
    path = folder / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 20}))
    generator = UnconditionalGenerator.open(str(folder), "cpu")
    with pytest.raises(InputError, match=r"^num_inference_steps: 21 must be from 1 to 20$"):
        answer(generator, request(num_inference_steps=21))
    (clip,) = generator.generate(UnconditionalRequest(seed=1, steps=20))
    assert_is_clip(answer(generator, request(**LOSSLESS, num_inference_steps="unset")), clip)


def test_a_server_for_prompts_refuses_the_mode(pristine: Path) -> None:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    text = ClipGenerator(pipeline, SeedLibrary.default(None))
    try:
        with pytest.raises(InputError, match=r"^mode: 'unconditional' needs an unconditional che"):
            answer(text, request())
    finally:
        text.close()


def test_a_checkpoint_that_needs_encodings_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "folder", is_conditional=True)

    async def scenario() -> None:
        ClipService(UnconditionalGenerator.open(str(folder), "cpu"))

    with pytest.raises(CheckpointError, match="needs an encoding for each clip, which requests"):
        asyncio.run(scenario())
