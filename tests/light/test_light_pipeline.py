"""Clips drawn without PyTorch: the same seed gives the same image as with it."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riffusion.checkpoint.manifest import Manifest
from riffusion.checkpoint.source import find_checkpoint
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.canvas import CanvasPlan, PromptAt
from riffusion.diffusion.magic_mix import MagicMix
from riffusion.engine import Engine
from riffusion.errors import CheckpointError, InputError
from riffusion.generation import pipelines
from riffusion.generation.pipelines import load_pipeline
from riffusion.light.pipeline import LightPipeline

SAME_CLIP_DB = 45.0
"""PSNR of images from one seed; rounding alone gives 70 dB or more, other clips about 15."""
SECONDS = 1.28
"""A quarter of a clip, to save time."""
LONG = ", ".join(["a slow and dreamy piano over warm analogue synthesizer pads"] * 3)


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(find_checkpoint().location)


@pytest.fixture(scope="module")
def light(folder: Path) -> LightPipeline:
    return LightPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def torch_pipeline(folder: Path) -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(folder, device="cpu")


def psnr(found: Any, expected: Any) -> float:
    error = np.asarray(found, float) - np.asarray(expected, float)
    return 20 * math.log10(255) - 10 * math.log10(max(float((error**2).mean()), 1e-9))


def picture(seed: int, width: int = 128) -> Image.Image:
    """Light background with some dark blobs, as spectrograms have."""
    small = np.random.default_rng(seed).integers(60, 255, (32, width // 8), np.uint8)
    return Image.fromarray(small).resize((width, 512), Image.Resampling.BICUBIC).convert("RGB")


def request(**changes: Any) -> InferenceInput:
    values: dict[str, Any] = {
        "start": {"prompt": "upbeat electric guitar riff", "seed": 42},
        "mode": "txt2img",
        "duration_s": SECONDS,
        "num_inference_steps": 6,
    }
    return InferenceInput.parse(values | changes)


REQUESTS = {
    "its own scheduler": {},
    "ddim, negative prompt": {
        "scheduler": "ddim",
        "start": {"prompt": "slow sad violin", "seed": 7, "negative_prompt": "drums"},
    },
    "lcm": {
        "scheduler": "lcm",
        "num_inference_steps": 4,
        "start": {"prompt": "church bells", "seed": 2**40 + 3, "guidance": 4.0},
    },
    "instant": {"preset": "instant"},
    "fast": {"preset": "fast"},
    "reference": {"preset": "reference", "num_inference_steps": 8},
    "weights": {"start": {"prompt": "(piano:1.4) and [drums], ünïcode 🎹", "seed": 3}},
    "long prompt": {"start": {"prompt": LONG, "seed": 1}},
    "interpolation": {
        "alpha": 0.35,
        "start": {"prompt": "techno", "seed": 1, "guidance": 5.0},
        "end": {"prompt": LONG, "seed": 2, "guidance": 9.0},
    },
    "guidance interval": {"guidance_interval": [0.2, 0.8]},
}


def assert_same(light: Any, torch_pipeline: Any, inputs: InferenceInput, *images: Any) -> None:
    found, expected = (pipeline.prepare(inputs, *images) for pipeline in (light, torch_pipeline))
    assert found.num_steps == expected.num_steps > 0
    images = [
        pipeline._finish(job) for pipeline, job in ((light, found), (torch_pipeline, expected))
    ]
    assert images[0].size == images[1].size
    assert psnr(*images) >= SAME_CLIP_DB


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_seed_gives_the_same_image(
    light: LightPipeline, torch_pipeline: RiffusionPipeline, name: str
) -> None:
    assert_same(light, torch_pipeline, request(**REQUESTS[name]))


@pytest.mark.parametrize("scheduler", [None, "ddim", "pndm", "lcm"])
def test_img2img_and_masks(
    light: LightPipeline, torch_pipeline: RiffusionPipeline, scheduler: Any
) -> None:
    start = {"prompt": "jazz", "seed": 5, "denoising": 0.7, "guidance": 5.0}
    inputs = request(mode="img2img", duration_s=None, scheduler=scheduler, start=start)
    init = picture(1)
    assert_same(light, torch_pipeline, inputs, init)
    mask = Image.linear_gradient("L").resize(init.size)
    assert_same(light, torch_pipeline, inputs, init, mask)
    assert_same(light, torch_pipeline, inputs, init, None, True, MagicMix())


@pytest.mark.parametrize("way", ["edit", "to noise"])
def test_canvases(light: LightPipeline, torch_pipeline: RiffusionPipeline, way: Any) -> None:
    columns = light.clip_columns + 8
    init = np.random.default_rng(3).standard_normal((1, 16, 32, columns)).astype(np.float32)
    start = {"prompt": "", "seed": 8, "denoising": 1.0 if way == "to noise" else 0.6}
    inputs = request(
        mode="img2img", duration_s=None, scheduler="ddim", num_inference_steps=4, start=start
    )
    course = 0.5 if way == "edit" else 0.0
    plan = CanvasPlan(
        init, [PromptAt(0, "piano"), PromptAt(columns, "violin")], way=way, course=course
    )
    results = []
    for pipeline in (light, torch_pipeline):
        canvas = pipeline.prepare_canvas(inputs, plan)
        while not canvas.is_done:
            parts = list(canvas.parts)
            for part, prediction in zip(parts, pipeline.predict(parts), strict=True):
                part.advance(prediction)
        results.append(np.asarray(canvas.latents))
    assert np.abs(results[0] - results[1]).max() < 1e-2 * np.abs(results[1]).max()


def test_pixels_come_back_from_latents_as_with_torch(
    light: LightPipeline, torch_pipeline: RiffusionPipeline
) -> None:
    import torch

    pixels = np.asarray(picture(2).convert("L"), np.float32) / 127.5 - 1
    found = light.decode_latents(light.encode_pixels(pixels))
    tensor = torch.from_numpy(pixels)
    expected = torch_pipeline.decode_latents(torch_pipeline.encode_pixels(tensor)).numpy()
    assert found.shape == pixels.shape
    assert np.abs(found - expected).max() < 1e-3


def test_batched_with_others_a_job_gives_what_it_gives_alone(light: LightPipeline) -> None:
    requests = [request(**REQUESTS[name]) for name in ("weights", "long prompt", "lcm")]
    alone = [light(inputs) for inputs in requests]
    jobs = [light.prepare(inputs) for inputs in requests]
    while not all(job.is_done for job in jobs):
        light.step(jobs)
    for image, expected in zip(light.decode(jobs), alone, strict=True):
        assert psnr(image, expected) >= SAME_CLIP_DB


def test_the_engine_runs_it(light: LightPipeline) -> None:
    expected = light(request())
    engine = Engine(light)
    try:
        engine.warm_up()
        image = engine.submit(request(), None, None).image.result(timeout=120)
    finally:
        engine.close()
    assert psnr(image, expected) >= SAME_CLIP_DB


PROMPTS = ["", " ", "funk\tbass\n\nline", "Café déjà-vu ÅÄÖ", "日本の太鼓", "🎹🥁 beat!!!"]
PROMPTS += ["<|endoftext|> x", "naïve \u0301combining", "x" * 300, "١٢٣ ½ ² \ufb01"]
PROMPTS += ["\u200bzero\ufeff", "ß ẞ İ", "a's don't 'LL"]


def test_tokens_are_those_of_transformers(
    light: LightPipeline, torch_pipeline: RiffusionPipeline
) -> None:
    stock = torch_pipeline.tokenizer
    for prompt in PROMPTS:
        expected = stock(prompt, add_special_tokens=False, verbose=False).input_ids
        assert light.tokenizer(prompt, add_special_tokens=False).input_ids == expected, prompt
    assert light.tokenizer.model_max_length == stock.model_max_length
    assert light.tokenizer.added_tokens_encoder == stock.added_tokens_encoder


ALONE = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "diffusers", "transformers", "accelerate", "peft"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
from riffusion.datatypes import InferenceInput
from riffusion.generation.generator import ClipGenerator

generator = ClipGenerator.load(engine="light")
inputs = {"start": {"prompt": "piano", "seed": 1, "denoising": 0.5}, "num_inference_steps": 2}
clip = generator.generate(generator.resolve(InferenceInput.parse(inputs)))
print(clip.image.size, clip.audio.waveform.shape[-1] / clip.params.sample_rate)

import asyncio
from riffusion.serving.model.clip_service import ClipService
from riffusion.serving.model.loading import load_service  # what the server loads

async def served():
    job = await ClipService(generator).submit(InferenceInput.parse(inputs))
    return await job.result(lambda: False)

print(asyncio.run(served()).duration_s)
generator.close()
"""


def test_a_clip_is_made_and_served_where_pytorch_is_not_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(512, 512) 5.12\n5.12\n"


class TestTheChoiceOfAnEngine:
    def test_it_is_the_one_that_is_named(self) -> None:
        assert isinstance(load_pipeline(engine="light", device="cpu"), LightPipeline)

    def test_it_is_onnxruntime_where_pytorch_is_not_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipelines, "_is_installed", lambda package: package != "torch")
        assert isinstance(load_pipeline(), LightPipeline)
        with pytest.raises(InputError, match="'torch' is not installed; .*make setup"):
            load_pipeline(engine="torch")

    def test_the_environment_may_name_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RIFFUSION_ENGINE", "light")
        assert isinstance(load_pipeline(), LightPipeline)
        monkeypatch.setenv("RIFFUSION_ENGINE", "Light")
        with pytest.raises(InputError, match="RIFFUSION_ENGINE=Light must be one of torch, light"):
            load_pipeline()

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(InputError, match="'tf' must be one of torch, light"):
            load_pipeline(engine="tf")  # type: ignore[arg-type]

    def test_it_has_the_cpu_only(self) -> None:
        with pytest.raises(InputError, match="'cuda' needs PyTorch") as caught:
            load_pipeline(engine="light", device="cuda")
        assert caught.value.field == "device"


class TestWhatItRefuses:
    def test_schedulers_of_diffusers(self, light: LightPipeline) -> None:
        with pytest.raises(InputError, match="'euler_a' needs PyTorch") as caught:
            light.prepare(request(scheduler="euler_a"))
        assert caught.value.field == "scheduler"

    def test_loras(self, light: LightPipeline) -> None:
        with pytest.raises(InputError, match="they need PyTorch, which changes weights") as caught:
            light.check_loras(request(loras=[{"id": 4096 * "("}]))
        assert caught.value.field == "loras"
        assert len(str(caught.value)) < 200

    def test_a_folder_without_a_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"neither manifest\.json nor model_index\.json"):
            LightPipeline.from_pretrained(tmp_path)
        (tmp_path / "model_index.json").write_text("{}")
        with pytest.raises(CheckpointError, match=f"riffusion export {tmp_path} -o FOLDER"):
            LightPipeline.from_pretrained(tmp_path)

    def test_a_single_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(b"")
        with pytest.raises(CheckpointError, match=r"a\.safetensors \(argument\) is not exported"):
            LightPipeline.from_pretrained(tmp_path / "a.safetensors")

    def test_an_id_of_the_hub(self) -> None:
        with pytest.raises(CheckpointError, match="owner/name@main .* is no folder here, and"):
            LightPipeline.from_pretrained("owner/name@main")

    def test_a_damaged_graph(self, folder: Path, tmp_path: Path) -> None:
        from riffusion.light.sessions import Session

        (tmp_path / "unet.onnx").write_bytes(b"no graph")
        with pytest.raises(CheckpointError, match=r"unet\.onnx can't be opened"):
            Session(tmp_path / "unet.onnx").open()

    def test_a_missing_tokenizer(self, light: LightPipeline, tmp_path: Path) -> None:
        from riffusion.light.tokenizer import LightTokenizer

        manifest: Manifest = light.checkpoint.manifest
        with pytest.raises(CheckpointError, match="can't be read"):
            LightTokenizer(tmp_path, manifest.shape)
