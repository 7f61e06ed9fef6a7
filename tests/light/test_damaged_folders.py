"""Exported folders with damaged settings: one line names the file, the field and the rule."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from riffusion.checkpoint import manifest
from riffusion.checkpoint.files import SCHEDULER_NAME
from riffusion.checkpoint.manifest import ExportedShape, describe_file, read_manifest
from riffusion.checkpoint.source import find_checkpoint
from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.scheduler_config import SchedulerConfig
from riffusion.errors import CheckpointError
from riffusion.light.agreement import check_shape
from riffusion.light.pipeline import LightPipeline

STABLE_DIFFUSION = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
"""`scheduler_config.json` of Stable Diffusion 1.5."""
EMBEDDED = Path(find_checkpoint().location)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The embedded checkpoint, of which a test may write over the small files."""
    for path in EMBEDDED.rglob("*"):
        copy = tmp_path / path.relative_to(EMBEDDED)
        copy.parent.mkdir(exist_ok=True)
        if path.suffix == ".json":
            copy.write_bytes(path.read_bytes())
        elif path.is_file():
            copy.hardlink_to(path)
    return tmp_path


def write(path: Path, content: str, folder: Path) -> None:
    """Write a file, and its size and hash into the folder's manifest if that has them."""
    path.write_text(content)
    values = json.loads((folder / "manifest.json").read_text())
    name = path.relative_to(folder).as_posix()
    if name in values["files"]:
        values["files"][name] = describe_file(path).model_dump()
        (folder / "manifest.json").write_text(json.dumps(values))


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    write(path, json.dumps(json.loads(path.read_text()) | values), folder)


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refusal:
        LightPipeline.from_pretrained(folder)
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_without_a_sampler_requests_to_stable_diffusion_are_drawn_as_with_torch(
    folder: Path,
) -> None:
    write(folder / SCHEDULER_NAME, json.dumps(STABLE_DIFFUSION), folder)
    inputs = InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 4, "guidance": 3.0},
            "mode": "txt2img",
            "duration_s": 0.64,
            "num_inference_steps": 7,
        }
    )
    latents = []
    for pipeline in (
        LightPipeline.from_pretrained(folder),
        RiffusionPipeline.from_pretrained(folder, device="cpu"),
    ):
        job = pipeline.prepare(inputs)
        assert job.num_steps == 8  # the second timestep twice
        while not job.is_done:
            pipeline.step([job])
        latents.append(np.asarray(job.latents))
    assert np.abs(latents[0] - latents[1]).max() < 1e-3 * np.abs(latents[1]).max()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule='sigmoid' must be 'linear', 'scaled_linear'"),
        ({"beta_start": "0.1"}, "beta_start='0.1' must be a valid number"),
        ({"beta_start": float("nan")}, "beta_start=nan must be a finite number"),
        ({"beta_end": 0}, "beta_end=0 must be greater than 0"),
        ({"beta_end": 12}, "beta_end=12 must be less than 1"),
        ({"num_train_timesteps": 1}, "num_train_timesteps=1 must be greater than or equal to 2"),
        ({"num_train_timesteps": 1000.5}, "num_train_timesteps=1000.5 must be a valid integer"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps='1000' must be a valid integer"),
        ({"num_train_timesteps": True}, "num_train_timesteps=True must be a valid integer"),
        ({"num_train_timesteps": None}, "num_train_timesteps=None must be a valid integer"),
        ({"trained_betas": [0.1, "x"]}, "trained_betas.1='x' must be a valid number"),
        ({"trained_betas": [0.1]}, "trained_betas has 1 numbers, and num_train_timesteps=1000"),
        ({"prediction_type": ["epsilon"]}, "prediction_type=['epsilon'] must be 'epsilon'"),
        ({"timestep_spacing": "even"}, "timestep_spacing='even' must be 'leading'"),
        ({"steps_offset": -1}, "steps_offset=-1 must be greater than or equal to 0"),
        ({"use_karras_sigmas": "yes"}, "use_karras_sigmas='yes' must be a valid boolean"),
        ({"solver_order": "2"}, "solver_order='2' must be a valid integer"),
        ({"final_sigmas_type": 0}, "final_sigmas_type=0 must be 'zero' or 'sigma_min'"),
        ({"original_inference_steps": 0}, "original_inference_steps=0 must be greater than"),
        ({"timestep_scaling": "x" * 900}, f"timestep_scaling='{'x' * 39}… must be a valid number"),
        ({"_class_name": 7}, "_class_name and _use_default_values must be"),
        ({"_use_default_values": "all"}, "_class_name and _use_default_values must be"),
    ],
    ids=str,
)
def test_a_setting_of_the_scheduler_that_it_can_t_have(
    folder: Path, values: dict[str, Any], expected: str
) -> None:
    path = folder / SCHEDULER_NAME
    change(folder, SCHEDULER_NAME, **values)
    with pytest.raises(CheckpointError) as refusal:
        SchedulerConfig.read(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message
    assert message.endswith("copy the file from the checkpoint again")


def test_a_damaged_scheduler_is_refused_when_a_checkpoint_is_loaded(folder: Path) -> None:
    change(folder, SCHEDULER_NAME, num_train_timesteps="many")
    assert "num_train_timesteps='many' must be a valid integer" in refused(folder)
    write(folder / SCHEDULER_NAME, "[]", folder)
    assert "must hold a JSON object" in refused(folder)


@pytest.fixture(scope="module")
def loaded() -> LightPipeline:
    return LightPipeline.from_pretrained(EMBEDDED)


WRONG = [
    ("start_token", 10**6, "start_token=1000000 must be below 1509, the tokenizer's"),
    ("padding_token", 1509, "padding_token=1509 must be below 1509"),
    ("latent_channels", 4, "latent_channels=4 must be 16, as in unet.onnx"),
    ("text_width", 768, "text_width=768 must be 128, as in unet.onnx"),
    ("guidance_width", None, "guidance_width=None must be 256, as in unet.onnx"),
    ("guidance_width", 128, "guidance_width=128 must be 256, as in unet.onnx"),
    ("tokens", 77, "tokens=77 must be a length that text_encoder.onnx takes"),
    ("size_multiple", 16, "size_multiple=16 must be a size that unet.onnx takes"),
    ("pixels_per_latent", 8, "pixels_per_latent=8 must be 16, as in vae_decoder.onnx"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_a_number_of_the_manifest_that_is_not_the_graphs(
    loaded: LightPipeline, name: str, value: Any, expected: str
) -> None:
    of_manifest = loaded.checkpoint.manifest.shape
    shape = ExportedShape.model_validate(of_manifest.model_dump() | {name: value})
    sessions = loaded.text_encoder._session, loaded.unet._session, loaded.vae._decoder
    check_shape(EMBEDDED, of_manifest, loaded.tokenizer, *sessions)
    with pytest.raises(CheckpointError) as refusal:
        check_shape(EMBEDDED, shape, loaded.tokenizer, *sessions)
    message = str(refusal.value)
    assert message.startswith(f"{EMBEDDED / 'manifest.json'}: shape.{expected}")
    assert "\n" not in message


def test_a_damaged_manifest_is_refused_when_a_checkpoint_is_loaded(folder: Path) -> None:
    shape = json.loads((folder / "manifest.json").read_text())["shape"]
    for values, expected in [
        ({"latent_channels": 3}, "shape.latent_channels=3 must be 16"),
        ({"tokens": 10**12}, "shape.tokens: Input should be less than or equal to 10000"),
        ({"size_multiple": 40}, "size_multiple=40 must be a multiple of pixels_per_latent=16"),
        ({"text_width": "128"}, "shape.text_width: Input should be a valid integer"),
    ]:
        change(folder, "manifest.json", shape=shape | values)
        assert expected in refused(folder)


def test_without_being_asked_for_contents_are_compared_of_the_smallest_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(name: str) -> None:
        path = folder / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.unlink()  # a link to the embedded checkpoint's
        path.write_bytes(content)

    damage("vae/diffusion_pytorch_model.safetensors")
    assert "is not the file that was exported (SHA-256)" in refused(folder)
    monkeypatch.setattr(manifest, "MAX_HASHED_BYTES", 3_000_000)
    read_manifest(folder, hashes=None)
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_manifest(folder)
    damage("text_encoder/model.safetensors")
    with pytest.raises(CheckpointError, match=r"text_encoder/model.*SHA-256"):
        read_manifest(folder, hashes=None)
    (folder / "unet/diffusion_pytorch_model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        read_manifest(folder, hashes=False)
