"""The service with an unconditional checkpoint: the command's clips, by requests."""

import asyncio
import base64
import gc
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import prometheus_client
import pytest
from diffusers import DDPMScheduler
from PIL import Image

from riffusion.audio.decoding_pool import DecodingPool
from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.errors import InputError
from riffusion.generation.unconditional import UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.serving.model.clip_service import ClipService
from riffusion.serving.model.loading import load_service
from tests.generation.unconditional_checkpoints import CLIP_SAMPLES, MEL, write_checkpoint
from tests.serving.conftest import BUNDLE_DIR, TIMEOUT_S, free_port
from tests.serving.unconditional_requests import (
    CLIP_S,
    LOSSLESS,
    answer,
    assert_is_clip,
    body,
    folder,
    generator,
    heard,
    request,
    song,
)

__all__ = ["folder", "generator"]  # fixtures


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"start": {"seed": 7}}, {"seed": 7, "steps": 3}),
        ({"start": {"seed": 2**63 - 1}}, {"seed": 2**63 - 1, "steps": 3}),
        ({"num_inference_steps": "unset"}, {"seed": 1, "steps": 50}),
        ({"scheduler": "ddpm"}, {"seed": 1, "steps": 3, "scheduler": "ddpm"}),
        ({"scheduler": None}, {"seed": 1, "steps": 3, "scheduler": "ddim"}),
    ],
)
def test_a_new_clip_is_the_command_s(
    generator: UnconditionalGenerator, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    (clip,) = generator.generate(UnconditionalRequest(**expected))
    assert_is_clip(answer(generator, request(**LOSSLESS, **fields)), clip)


@pytest.mark.parametrize(
    ("start", "steps", "start_step"),
    [
        ({}, 4, 2),  # the command's default, half of the steps
        ({}, 5, 2),
        ({"denoising": 0.75}, 4, 1),
        ({"denoising": 0.9}, 10, 1),  # 10 · (1 - 0.9) is a little less than 1
        ({"denoising": 1}, 4, 0),
        ({"denoising": 1e-4}, 4, 3),  # any share above 0 takes a step
    ],
)
def test_a_variation_takes_a_share_of_the_steps(
    generator: UnconditionalGenerator, start: dict[str, Any], steps: int, start_step: int
) -> None:
    wanted = UnconditionalRequest(seed=1, steps=steps, start_step=start_step)
    (clip,) = generator.generate(wanted, heard(song(1.5, 44_100)))
    fields = {"init_audio": song(1.5, 44_100), "num_inference_steps": steps, "start": start}
    assert_is_clip(answer(generator, request(**LOSSLESS, **fields)), clip)


def test_a_ddpm_checkpoint_takes_the_command_s_1000_steps(tmp_path: Path) -> None:
    """And the progress of a stream has their number, but those that a variation leaves out."""
    generator = UnconditionalGenerator.open(
        str(write_checkpoint(tmp_path / "folder", scheduler=DDPMScheduler)), "cpu"
    )
    inputs = request(
        init_audio=song(), start={"denoising": 0.01}, num_inference_steps="unset", stream=True
    )

    async def scenario() -> list[Any]:
        job = await ClipService(generator).submit(inputs)
        return [json.loads(line) async for line in job.ndjson()]

    *progress, last = asyncio.run(scenario())
    assert progress == [{"event": "progress", "step": n, "steps": 10} for n in range(1, 11)]
    assert last["event"] == "result"
    assert last["duration_s"] == CLIP_S


@pytest.mark.parametrize("audio_format", ["mp3", "wav", "flac", "ogg"])
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_every_format(
    generator: UnconditionalGenerator, audio_format: str, image_format: str
) -> None:
    output = answer(generator, request(audio_format=audio_format, image_format=image_format))
    assert output.image.startswith(f"data:image/{image_format};base64,")
    audio = heard(output.audio)
    assert audio.duration_s == pytest.approx(CLIP_S, abs=1 / 48_000)
    assert np.abs(audio.waveform).max() > 0.05
    image = Image.open(io.BytesIO(base64.b64decode(output.image.partition(",")[2])))
    assert image.size == (MEL["x_res"], MEL["y_res"])


def test_what_clients_send_with_every_request_is_taken(generator: UnconditionalGenerator) -> None:
    """All of upstream's fields at their defaults, and an end that is the start."""
    start = {"prompt": "", "seed": 1, "negative_prompt": None, "denoising": 0.75, "guidance": 7.0}
    usual = {"alpha": 0, "seed_image_id": "og_beat", "mask_image_id": None, "end": dict(start)}
    inputs = request(start=start, **usual, **LOSSLESS)
    assert answer(generator, inputs) == answer(generator, request(**LOSSLESS))


@pytest.fixture
def decoders() -> Iterator[DecodingPool]:
    pool = DecodingPool()
    pool.start()
    yield pool
    pool.close()
    gc.unfreeze()  # what a server's process keeps when it has loaded


def test_the_environment_names_the_checkpoint(
    folder: Path, decoders: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIFFUSION_CHECKPOINT", str(folder))

    async def scenario() -> InferenceOutput:
        job = await load_service(decoders).submit(request(init_audio=song(), **LOSSLESS))
        return await job.result(lambda: False)

    output = asyncio.run(scenario())
    info = model_info(prometheus_client.generate_latest().decode())
    assert info == {"presets": [], "distillation": None, "unconditional": True}
    (clip,) = UnconditionalGenerator.open(str(folder)).generate(
        UnconditionalRequest(seed=1, steps=3), heard(song())
    )
    assert_is_clip(output, clip)
    monkeypatch.setenv("RIFFUSION_ENGINE", "light")
    monkeypatch.setattr("riffusion.generation.pipelines._is_installed", lambda package: True)
    with pytest.raises(InputError, match=r"^engine: 'light' can't run .*, which is unconditional"):
        load_service(decoders)


def test_the_request_in_the_documentation(generator: UnconditionalGenerator) -> None:
    page = (BUNDLE_DIR / "docs/audio_diffusion.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)\n```", page.partition("## As a server\n")[2], re.DOTALL)
    assert example is not None
    assert answer(generator, InferenceInput.parse(json.loads(example[1]))).duration_s == CLIP_S


def test_the_real_server_serves_it(folder: Path, client: httpx.Client) -> None:
    environment = {"RIFFUSION_CHECKPOINT": str(folder), "OMP_NUM_THREADS": "1"}
    log: list[str] = []
    server = LocalTrussServer(
        BUNDLE_DIR, port=free_port(), environment=environment, on_log_line=log.append
    )
    with server:
        new = client.post(server.predict_url, json=body(audio_format="flac"))
        assert new.status_code == 200, new.text[:500]
        assert new.json()["duration_s"] == CLIP_S
        assert heard(new.json()["audio"]).num_samples == CLIP_SAMPLES
        streamed = client.post(server.predict_url, json=body(init_audio=song(), stream=True))
        events = [json.loads(line) for line in streamed.text.splitlines()]
        assert [event["event"] for event in events] == ["progress", "progress", "result"]
        text = {"start": {"prompt": "bells", "seed": 1}}
        refused = client.post(server.predict_url, json=text)
        assert refused.status_code == 400
        assert refused.json() == {
            "error": "mode: 'img2img' needs a checkpoint that takes a prompt, and this server's is "
            "unconditional; use mode=unconditional"
        }
        late = client.post(server.predict_url, json=body(deadline_s=1e-3), timeout=TIMEOUT_S)
        assert late.status_code == 504
        metrics = client.get(server.base_url + "/metrics/").text
        assert model_info(metrics)["unconditional"] is True
    assert any("unconditional, ddim, clips of 0.74 s" in line for line in log)
