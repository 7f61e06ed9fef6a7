"""Writes what the engine of the web page is compared with: numbers, prompts and images of Python.

    python -m scripts.write_engine_golden

The tests of TypeScript are in `web/test/engine/`; `tests/light/test_engine_golden.py` tests that
the files are what Python gives. `web/src/engine/presets.json`, from which the page's engine has its
presets, is written, too.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.checkpoint.source import EMBEDDED
from riffusion.datatypes import PRESETS, ImageFormat, InferenceInput, SchedulerName
from riffusion.diffusion.distilled_sampling import consistency_timesteps
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.guidance_embedding import guidance_embedding
from riffusion.diffusion.interpolation import slerp
from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.diffusion.random_numbers import TwisterNumbers
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.diffusion.schedulers import (
    add_noise,
    new_scheduler,
    partial_timesteps,
    set_timesteps,
)
from riffusion.generation.seed_library import SeedLibrary
from riffusion.io.images import encode_image
from riffusion.light.pipeline import LightPipeline
from riffusion.spectrogram.image import FloatArray
from riffusion.spectrogram.image_conversion import convert_image, convert_mask
from riffusion.spectrogram.params import SpectrogramParams
from scripts.golden_files import FOLDER, base64_text, write_json
from scripts.write_inversion_golden import example_image

ROOT = Path(__file__).parents[1]
GOLDEN = FOLDER / "engine"
PRESETS_FILE = ROOT / "web" / "src" / "engine" / "presets.json"
ROWS, COLUMNS = 4, 8
"""Every fourth row and every eighth column of the images is kept."""

_SEEDS = (0, 1, 42, 123456789, 2**32 - 1, 2**32, 2**32 + 5, 1234567890123, 2**53 + 1, 2**63 - 1)
_SIZES = (16, 17, 40, 24)
"""Sizes of draws, one after another."""
_PROMPTS = (
    "church bells",
    "a (soft:0.6) piano with [drums] and ((loud)) strings",
    r"\(not a weight\) \\ [nested (deep:2)] (open",
    "stray ] ) : \\ marks",
    "(a:1.5)(b : .5 )(c:-2.)",
    "(tango :1.2)   and (:) [[ambient]] rock'n'roll it's they'll",
    "Ünïcödé — ｆｕｌｌ, 日本の音楽 🎷 ǅ Σίσυφος",
    "100% 8-bit, 4/4 at 120bpm!!! ...",
    "line\nbreak\ttab\u00a0space",
    "antidisestablishmentarianism " * 6,
    "<|endoftext|> after <|startoftext|>",
    "",
)
_COUNTS = (1, 2, 3, 5, 12, 33, 50)
_SCHEDULES: dict[str, dict[str, Any]] = {
    "demo": {},
    "leading": {
        "timestep_spacing": "leading",
        "prediction_type": "epsilon",
        "steps_offset": 1,
        "beta_schedule": "linear",
        "beta_end": 0.012,
    },
    "linspace": {
        "timestep_spacing": "linspace",
        "prediction_type": "sample",
        "beta_schedule": "squaredcos_cap_v2",
        "final_sigmas_type": "sigma_min",
    },
    "zero": {"rescale_betas_zero_snr": True, "set_alpha_to_one": False},
}
"""Settings by name, in addition to those of the embedded checkpoint."""
_SCHEDULERS: tuple[SchedulerName, ...] = ("pndm", "ddim", "dpmsolver++", "lcm")
_MASK_SIZES = ((40, 24), (64, 64), (150, 20), (25, 250))
_DEFAULT = SpectrogramParams()
_CONVERSIONS: dict[str, tuple[SpectrogramParams, SpectrogramParams]] = {
    "half step": (SpectrogramParams(step_size_ms=5), _DEFAULT),
    "step of 7 ms": (SpectrogramParams(step_size_ms=7), _DEFAULT),
    "frames of whole samples": (SpectrogramParams(sample_rate=22050), _DEFAULT),
    "high range": (SpectrogramParams(min_frequency=20, max_frequency=20_000), _DEFAULT),
    "few bands": (SpectrogramParams(num_frequencies=256), _DEFAULT),
    "many bands": (SpectrogramParams(num_frequencies=1024, max_frequency=8000), _DEFAULT),
    "stereo": (SpectrogramParams(stereo=True, step_size_ms=20), _DEFAULT),
    "square root": (SpectrogramParams(power_for_image=0.5), _DEFAULT),
    "Slaney's scale": (
        SpectrogramParams(mel_scale_type="slaney", mel_scale_norm="slaney"),
        _DEFAULT,
    ),
    "to a small stereo image": (
        _DEFAULT,
        SpectrogramParams(
            stereo=True,
            sample_rate=22050,
            num_frequencies=96,
            max_frequency=6000,
            step_size_ms=8,
            mel_scale_type="slaney",
        ),
    ),
}
"""Parameters of an image, and those that it is converted to."""
_CONVERTED_COLUMNS = 20
_MASK_ROWS = 64

_CLIPS: dict[str, dict[str, Any]] = {
    "instant": {
        "start": {"prompt": "church bells", "seed": 42, "denoising": 0.85, "guidance": 6.0},
        "end": {"prompt": "a (soft:0.7) jazz trio", "seed": 7, "denoising": 0.75, "guidance": 7.0},
        "alpha": 0.25,
        "preset": "instant",
        "seed_image_id": "og_beat",
    },
    "masked": {
        "start": {
            "prompt": "funk bassline with a (jazzy:1.3) saxophone solo",
            "seed": 2**40 + 3,
            "negative_prompt": "[drums]",
            "denoising": 0.9,
            "guidance": 4.0,
        },
        "preset": "fast",
        "num_inference_steps": 6,
        "seed_image_id": "agile",
        "mask_image_id": "mask_top_third_75",
    },
    "large seeds": {
        "start": {"prompt": "organ", "seed": 2**63 - 1},
        "end": {"prompt": "organ", "seed": 2**53 + 1},
        "alpha": 0.5,
        "mode": "txt2img",
        "duration_s": 1.0,
        "preset": "instant",
    },
    "short": {
        "start": {"prompt": "marimba " * 40, "seed": 5, "guidance": 1.0},
        "mode": "txt2img",
        "duration_s": 1.0,
        "scheduler": "ddim",
        "num_inference_steps": 5,
    },
}


def numbers() -> dict[str, Any]:
    """Random numbers, spherical interpolation and embeddings of guidance."""
    drawn = {}
    for seed in _SEEDS:
        stream = TwisterNumbers(seed)
        drawn[str(seed)] = [_rounded(stream.normal((size,))) for size in _SIZES]
    later = TwisterNumbers(3).normal((20_000,))[-8:]
    ends = [TwisterNumbers(seed).normal((32,)) for seed in (1, 2)]
    between = {str(alpha): _rounded(slerp(alpha, *ends)) for alpha in (0, 0.25, 0.5, 0.9, 1)}
    parallel = _rounded(slerp(0.3, ends[0], ends[0] * np.float32(2)))
    guidance = {
        str(scale): _rounded(guidance_embedding(np.array([scale], np.float32), 9)[0])
        for scale in (1.0, 2.0, 4.5, 7.0)
    }
    return {
        "normal": drawn,
        "later": _rounded(later),
        "slerp": between,
        "parallel": parallel,
        "guidance": guidance,
    }


def prompts(pipeline: LightPipeline) -> list[dict[str, Any]]:
    """Prompts, their weighted stretches, and the token ids of each stretch."""
    return [
        {
            "prompt": prompt,
            "stretches": [
                [text, weight, pipeline.tokenizer(text, add_special_tokens=False).input_ids]
                for text, weight in parse_prompt_weights(prompt)
            ],
        }
        for prompt in _PROMPTS
    ]


def samplers(config: SchedulerConfig) -> list[dict[str, Any]]:
    """Timesteps of the samplers, and where they lead with a made-up network."""
    return [
        _sampler(config, schedule, name)
        for schedule, name in itertools.product(_SCHEDULES, _SCHEDULERS)
        if (schedule, name) != ("linspace", "pndm")  # which has no such predictions
    ]


def _sampler(config: SchedulerConfig, schedule: str, name: SchedulerName) -> dict[str, Any]:
    changed = _SCHEDULES[schedule]
    trained = SchedulerConfig({**config.config, **changed})
    timesteps = {}
    for count in _COUNTS:
        sampler = new_scheduler(name, trained)
        set_timesteps(sampler, count)
        timesteps[str(count)] = sampler.timesteps.tolist()
    sampler = new_scheduler(name, trained)
    set_timesteps(sampler, 7)
    steps = partial_timesteps(sampler, 7, 0.8)
    clean, noise = TwisterNumbers(1).normal((16,)), TwisterNumbers(2).normal((16,))
    latents = add_noise(sampler, clean, noise, steps[0])
    drawn = {"generator": TwisterNumbers(4)} if name == "lcm" else {}
    for timestep in steps:
        output = np.float32(0.3) * latents - np.float32(float(timestep) / 4000)
        latents, *_ = sampler.step(output, timestep, latents, **drawn)
    case = {"schedule": schedule, "settings": changed, "name": name, "timesteps": timesteps}
    return {**case, "latents": _rounded(latents)}


def distilled_timesteps(config: SchedulerConfig, distillation: Distillation) -> list[Any]:
    """Timesteps of distilled sampling: number of steps, strength, timesteps."""
    found = []
    for count, strength in itertools.product((1, 2, 4, 6, 8), (0.0, 0.03, 0.25, 0.5, 0.75, 1.0)):
        sampler = new_scheduler("lcm", config)
        steps = consistency_timesteps(sampler, count, strength, distillation.solver_steps)
        found.append([count, strength, np.asarray(steps).tolist()])
    return found


def masks() -> list[dict[str, Any]]:
    """Masks of made-up pixels, resized to an image and averaged over latents."""
    geometry = LatentGeometry(40, 24, 8, 32)
    found = []
    for width, height in _MASK_SIZES:
        mask = Image.fromarray(made_up_pixels(width, height))
        repaint = geometry.repaint_from_mask(mask)
        latents = geometry.latents_from_repaint(repaint)
        greys = (repaint[0, 0, :24, :40] * 255).round().astype(np.uint8)
        taller = np.asarray(mask.resize((width, 24), Image.Resampling.LANCZOS))[:, :8]
        found.append(
            {
                "size": [width, height],
                "greys": base64_text(greys),
                "latents": _rounded(latents),
                "lanczos": base64_text(taller),
            }
        )
    return found


def made_up_pixels(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(height, width, 3) of numbers that look random and are the same in both languages."""
    index = np.arange(width * height * 3, dtype=np.int64)
    return (index * index * 31 % 65_537 % 256).astype(np.uint8).reshape(height, width, 3)


def images() -> list[dict[str, Any]]:
    """Small image files with parameters in their EXIF, and what they record."""
    params = SpectrogramParams(
        stereo=True,
        sample_rate=22050,
        step_size_ms=20,
        max_frequency=8000,
        mel_scale_norm="slaney",
        power_for_image=0.3,
    )
    found: list[dict[str, Any]] = []
    image_formats: tuple[ImageFormat, ...] = get_args(ImageFormat)
    for image_format, max_value in zip(image_formats, (None, 1e6, 2e6), strict=True):
        image = Image.new("RGB", (4, 2))
        image.getexif().update(params.to_exif(max_value=max_value))
        file = base64.b64encode(encode_image(image, image_format)).decode()
        recorded = {"params": dataclasses.asdict(params), "maxValue": max_value}
        found.append({"format": image_format, "file": file, "recorded": recorded})
    return found


def conversions() -> list[dict[str, Any]]:
    """Example images with other parameters, and masks over them: every fourth row of G and B."""
    found = []
    for name, (params, wanted) in _CONVERSIONS.items():
        image = example_image(params.num_frequencies, _CONVERTED_COLUMNS)
        if params.stereo:
            grey = image.getchannel("R")
            mirrored = grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            image = Image.merge("RGB", [Image.new("L", grey.size), grey, mirrored])
        converted = np.asarray(convert_image(image, params, wanted))
        mask = np.arange(_MASK_ROWS, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
        moved = np.asarray(convert_mask(Image.fromarray(mask), params, wanted))
        found.append(
            {
                "name": name,
                "params": dataclasses.asdict(params),
                "wanted": dataclasses.asdict(wanted),
                "size": [converted.shape[1], converted.shape[0]],
                "pixels": base64_text(converted[::ROWS, :, 1:]),
                "mask": base64_text(moved[:, 0, 0]),
            }
        )
    return found


def clips(pipeline: LightPipeline) -> list[dict[str, Any]]:
    """Requests, and of their images every fourth row and eighth column."""
    found = []
    for name, request in _CLIPS.items():
        image = draw(pipeline, request)
        pixels = np.asarray(image)[::ROWS, ::COLUMNS, 0]
        found.append({"name": name, "request": request, "pixels": base64_text(pixels)})
    return found


def draw(pipeline: LightPipeline, request: dict[str, Any]) -> Image.Image:
    """The image of a request."""
    inputs = InferenceInput.parse(request)
    library = SeedLibrary.default(ROOT / EMBEDDED)
    init = None if inputs.mode == "txt2img" else library.seed_image(inputs.seed_image_id)
    mask = None if inputs.mask_image_id is None else library.mask_image(inputs.mask_image_id)
    return pipeline(inputs, init, mask)


def golden() -> dict[str, Callable[[], Any]]:
    """What makes the content of each file, by the file's name."""
    pipeline = LightPipeline.from_pretrained(str(ROOT / EMBEDDED))
    config, distillation = pipeline.scheduler, pipeline.distillation
    assert distillation is not None  # the embedded checkpoint is distilled
    return {
        "numbers.json": numbers,
        "prompts.json": lambda: prompts(pipeline),
        "samplers.json": lambda: {
            "samplers": samplers(config),
            "distilled": distilled_timesteps(config, distillation),
        },
        "masks.json": masks,
        "images.json": images,
        "conversions.json": conversions,
        "clips.json": lambda: clips(pipeline),
    }


def presets_text() -> str:
    """Content of the page's presets."""
    return json.dumps(PRESETS, indent=2) + "\n"


def _rounded(values: FloatArray) -> list[float]:
    """Numbers with seven significant digits, as many as single precision has."""
    return [float(f"{value:.7g}") for value in np.ravel(values)]


def main() -> None:
    """Write all files."""
    for name, make in golden().items():
        write_json(GOLDEN / name, make())
    PRESETS_FILE.write_text(presets_text())


if __name__ == "__main__":
    main()
