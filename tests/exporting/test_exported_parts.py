"""Exported parts compute what the pipeline computes in torch, in any batch, width and mask."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.conditioning import stack_embeddings
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.vae import LatentCodec, noise_from_seed
from riffusion.runtime.cache import TensorCache
from tests.exporting.conftest import EMBEDDED
from tests.exporting.exported import assert_close, random, run_part

LONG = "church bells, " * 12
SIZES = [(1, 4, 4), (2, 4, 12), (3, 8, 4), (5, 4, 8)]
"""Rows, height and width of latents; not those that exporting compares."""


@pytest.fixture(params=["demo", "tiny"])
def pair(request: pytest.FixtureRequest) -> tuple[RiffusionPipeline, Path]:
    """A pipeline in torch, and the same checkpoint exported; the embedded one is already."""
    if request.param == "demo":
        return request.getfixturevalue("demo"), EMBEDDED
    folder = request.getfixturevalue("exported_tiny")
    checkpoint = request.getfixturevalue("tiny")
    return RiffusionPipeline.from_pretrained(checkpoint, device="cpu"), folder


def test_embeddings_are_the_prompt_encoders(pair: tuple[RiffusionPipeline, Path]) -> None:
    pipeline, folder = pair
    for prompt in ("piano", LONG):
        ids = pipeline.tokenizer(prompt, add_special_tokens=False).input_ids
        size = pipeline.tokenizer.model_max_length - 2
        end = pipeline.tokenizer.eos_token_id
        ids += [end] * (-len(ids) % size)
        chunks = torch.tensor(ids).view(-1, size)
        edge = torch.ones(len(chunks), 1, dtype=torch.long)
        start = edge * pipeline.tokenizer.bos_token_id
        chunks = torch.cat([start, chunks, edge * end], dim=1)
        found = run_part(folder, "text_encoder", input_ids=chunks)["embeddings"]
        assert_close(found.flatten(0, 1)[None], pipeline.embed_text(prompt))


@pytest.mark.parametrize(("rows", "height", "width"), SIZES)
@torch.inference_mode()
def test_predictions_are_the_unets(
    pair: tuple[RiffusionPipeline, Path], rows: int, height: int, width: int
) -> None:
    pipeline, folder = pair
    unet = pipeline.unet
    embeddings = [pipeline.embed_text(LONG if index % 2 else "piano") for index in range(rows)]
    stacked, mask = stack_embeddings(embeddings)
    assert (mask is None) == (rows == 1)
    inputs = {
        "sample": random(rows, unet.config.in_channels, height, width),
        "timestep": torch.linspace(1, 980.5, rows),
        "encoder_hidden_states": stacked,
        "timestep_cond": random(rows, unet.config.time_cond_proj_dim, seed=1),
    }
    expected = unet(**inputs, encoder_attention_mask=mask, return_dict=False)[0]
    all_count = torch.ones(stacked.shape[:2]) if mask is None else mask
    found = run_part(folder, "unet", **inputs, encoder_attention_mask=all_count)["prediction"]
    assert_close(found, expected)


def test_rows_do_not_depend_on_each_other(pair: tuple[RiffusionPipeline, Path]) -> None:
    pipeline, folder = pair
    unet = pipeline.unet
    inputs = {
        "sample": random(3, unet.config.in_channels, 4, 8),
        "timestep": torch.tensor([20.0, 300.0, 900.0]),
        "encoder_hidden_states": random(3, 8, unet.config.cross_attention_dim, seed=1),
        "encoder_attention_mask": torch.ones(3, 8),
        "timestep_cond": random(3, unet.config.time_cond_proj_dim, seed=2),
    }
    together = run_part(folder, "unet", **inputs)["prediction"]
    for row in range(3):
        alone = run_part(folder, "unet", **{k: v[row : row + 1] for k, v in inputs.items()})
        assert_close(together[row : row + 1], alone["prediction"])


@torch.inference_mode()
def test_latents_and_pixels_are_the_codecs(pair: tuple[RiffusionPipeline, Path]) -> None:
    pipeline, folder = pair
    codec = LatentCodec(pipeline.vae, TensorCache(1 << 20))
    factor = pipeline.vae_scale_factor
    for rows, height, width in SIZES:
        pixels = random(rows, 3, height * factor, width * factor).clamp(-1, 1)
        found = run_part(folder, "vae_encoder", pixels=pixels)
        expected = torch.cat([codec.encode_pixels(row[None]) for row in pixels])
        assert_close(found["latents"], expected)
        assert ("deviation" in found) == (not autoencoders.is_deterministic(pipeline.vae))
        latents = random(rows, pipeline.vae.config.latent_channels, height, width)
        decoded = run_part(folder, "vae_decoder", latents=latents)["pixels"]
        assert_close(decoded, codec.decode(latents))


def test_deviation_gives_the_latents_of_an_image(tiny: Path, exported_tiny: Path) -> None:
    pipeline = RiffusionPipeline.from_pretrained(tiny, device="cpu")
    factor = pipeline.vae_scale_factor
    geometry = LatentGeometry(8 * factor, 4 * factor, factor, factor)
    pixels = random(3, 4 * factor, 8 * factor).clamp(-1, 1)
    image = geometry.image_from_pixels(pixels)
    assert isinstance(image, Image.Image)
    codec = LatentCodec(pipeline.vae, TensorCache(1 << 20))
    with torch.inference_mode():
        expected = codec.encode(image, geometry, seed=3)
    found = run_part(exported_tiny, "vae_encoder", pixels=geometry.pixels_from_image(image))
    noise = noise_from_seed(3, geometry, expected.shape[1])
    assert float(found["deviation"].mean()) > 0.01
    assert_close(found["latents"] + found["deviation"] * noise, expected)


ALONE = """
import sys
for name in ("torch", "onnx", "diffusers", "transformers", "safetensors", "riffusion"):
    sys.modules[name] = None  # as if it were not installed
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shapes = {"rows": 2, "tokens": 32, "height": 8, "width": 12}
rng = np.random.default_rng(0)
inputs = {
    value.name: rng.random([shapes.get(size, size) for size in value.shape], np.float32)
    for value in session.get_inputs()
}
(found,) = session.run(None, inputs)
print(found.shape, np.isfinite(found).all())
"""


def test_onnxruntime_alone_opens_the_folder() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, EMBEDDED / "unet.onnx"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(2, 16, 8, 12) True\n"
