"""The service with an unconditional checkpoint: the command's clips, by requests."""

import asyncio
import base64
import functools
import gc
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import prometheus_client
import pytest
import soundfile
import torch
from diffusers import DDPMScheduler
from PIL import Image

from riffusion.audio import Audio, audio_from_segment, decode_audio, encode_audio
from riffusion.audio.decoding_pool import DecodingPool
from riffusion.datatypes import InferenceInput, InferenceOutput
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import (
    CheckpointError,
    DeadlineExceededError,
    GenerationCancelled,
    GenerationError,
    InputError,
    OverloadedError,
)
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.generation.unconditional import UnconditionalClip, UnconditionalGenerator
from riffusion.generation.unconditional_request import UnconditionalRequest
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.local.truss_server import LocalTrussServer
from riffusion.serving.model.clip_service import MAX_FAILURES_IN_A_ROW, ClipService
from riffusion.serving.model.loading import load_service
from tests.generation.unconditional_checkpoints import CLIP_SAMPLES, MEL, chirp, write_checkpoint
from tests.patience import PATIENCE_S
from tests.serving.conftest import BUNDLE_DIR, TIMEOUT_S, free_port
from tests.serving.held_unet import INPUTS as TEXT_REQUEST

RATE = int(MEL["sample_rate"])
CLIP_S = CLIP_SAMPLES / RATE
LOSSLESS = {"audio_format": "wav", "image_format": "png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("unconditional") / "folder")


@pytest.fixture(scope="module")
def generator(folder: Path) -> UnconditionalGenerator:
    return UnconditionalGenerator.open(str(folder), "cpu")


@functools.cache
def song(num_clips: float = 1, rate: int = RATE) -> str:
    audio = chirp(int(num_clips * CLIP_S * rate), rate)
    return base64.b64encode(encode_audio(audio, "wav")).decode()


def heard(text: str) -> Audio:
    """Audio of a request or an answer."""
    return audio_from_segment(decode_audio(base64.b64decode(text.rpartition(",")[2])))


def body(**changes: Any) -> dict[str, Any]:
    start = {"seed": 1, **changes.pop("start", {})}
    return {"mode": "unconditional", "start": start, "num_inference_steps": 3, **changes}


def request(**changes: Any) -> InferenceInput:
    values = body(**changes)
    return InferenceInput.parse({name: value for name, value in values.items() if value != "unset"})


def answer(
    generator: ClipGenerator | UnconditionalGenerator, inputs: InferenceInput
) -> InferenceOutput:
    async def scenario() -> InferenceOutput:
        job = await ClipService(generator).submit(inputs)
        try:
            return await job.result(lambda: False)
        finally:
            await job.task

    return asyncio.run(scenario())


def assert_is_clip(output: InferenceOutput, clip: UnconditionalClip) -> None:
    """The answer holds the clip's pixels and samples, exactly."""
    image = Image.open(io.BytesIO(base64.b64decode(output.image.partition(",")[2])))
    assert np.array_equal(np.asarray(image), np.asarray(clip.image.convert("RGB")))
    samples, rate = soundfile.read(
        io.BytesIO(base64.b64decode(output.audio.partition(",")[2])), dtype="int16"
    )
    expected, _ = soundfile.read(io.BytesIO(encode_audio(clip.audio, "wav")), dtype="int16")
    assert rate == RATE
    assert np.array_equal(samples, expected)
    assert len(samples) == CLIP_SAMPLES
    assert output.duration_s == CLIP_S


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


def test_what_clients_send_with_every_request_is_taken(generator: UnconditionalGenerator) -> None:
    """All of upstream's fields at their defaults, and an end that is the start."""
    start = {"prompt": "", "seed": 1, "negative_prompt": None, "denoising": 0.75, "guidance": 7.0}
    usual = {"alpha": 0, "seed_image_id": "og_beat", "mask_image_id": None, "end": dict(start)}
    inputs = request(start=start, **usual, **LOSSLESS)
    assert answer(generator, inputs) == answer(generator, request(**LOSSLESS))


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


class HeldUNet:
    """A UNet whose calls wait until they are released; then they fail if `failure` is set."""

    def __init__(self, generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failure: BaseException | None = None
        self.num_calls = 0
        self.called, self.released = threading.Event(), threading.Event()
        unet = generator.sampler._unet
        self._forward = unet.forward
        monkeypatch.setattr(unet, "forward", self.forward)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        self.called.set()
        self.released.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return self._forward(*args, **options)


@pytest.fixture
def unet(generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch) -> HeldUNet:
    return HeldUNet(generator, monkeypatch)


def gauge(name: str) -> float:
    lines = prometheus_client.generate_latest().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_clips_wait_for_each_other_and_leave_when_their_clients_do(
    generator: UnconditionalGenerator, unet: HeldUNet
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=1)
        running = await service.submit(request())
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        waiting = await service.submit(request())
        assert (gauge("riffusion_live_jobs"), gauge("riffusion_waiting_jobs")) == (1, 1)
        with pytest.raises(OverloadedError) as refusal:
            await service.submit(request())
        assert refusal.value.retry_after_s >= 1
        waiting.stop()
        with pytest.raises(GenerationCancelled):  # at once, though the other one still runs
            await waiting.result(lambda: False)
        await waiting.task
        with pytest.raises(GenerationCancelled):
            await running.result(lambda: True)
        unet.released.set()
        await running.task
        assert unet.num_calls == 1
        again = await service.submit(request())
        assert (await again.result(lambda: False)).duration_s == CLIP_S
        await again.task
        assert set(again.timings_s) == {"waiting", "clip", "sound_queue", "audio"}
        assert (gauge("riffusion_live_jobs"), gauge("riffusion_waiting_jobs")) == (0, 0)

    asyncio.run(scenario())
    assert unet.num_calls == 4


def test_a_deadline(generator: UnconditionalGenerator, unet: HeldUNet) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        with pytest.raises(DeadlineExceededError, match=r"deadline_s=0\.5"):
            job = await service.submit(request(deadline_s=0.5))
            await asyncio.sleep(0.6)
            unet.released.set()
            await job.result(lambda: False)
        unet.released.set()
        again = await service.submit(request())
        assert (await again.result(lambda: False)).duration_s == CLIP_S

    asyncio.run(scenario())
    assert unet.num_calls <= 1 + 3  # a step of the first clip at most, and the second one's


def test_failures_make_the_service_unhealthy_and_a_hang_too(
    generator: UnconditionalGenerator, unet: HeldUNet
) -> None:
    now_s = 0.0
    unet.failure = RuntimeError("GPU lost")

    async def scenario() -> None:
        nonlocal now_s
        service = ClipService(generator)
        service._maker._watchdog._clock = lambda: now_s  # type: ignore[attr-defined]
        hanging = await service.submit(request())
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        assert service.is_healthy
        now_s = 1e5
        assert not service.is_healthy
        unet.released.set()
        with pytest.raises(RuntimeError, match="GPU lost"):
            await hanging.result(lambda: False)
        service = ClipService(generator)
        for _ in range(MAX_FAILURES_IN_A_ROW):
            assert service.is_healthy
            job = await service.submit(request())
            with pytest.raises(RuntimeError, match="GPU lost"):
                await job.result(lambda: False)
        assert not service.is_healthy
        unet.failure = None
        await (await service.submit(request())).result(lambda: False)
        assert service.is_healthy

    asyncio.run(scenario())


def test_pixels_that_are_not_finite_are_an_error(
    generator: UnconditionalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(sample: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        return (sample * float("nan"),)

    monkeypatch.setattr(generator.sampler._unet, "forward", broken)
    with pytest.raises(GenerationError, match="not finite"):
        answer(generator, request())


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
