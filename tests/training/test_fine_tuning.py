"""Fine-tuning: what is learned, what stays the same, and that stock diffusers reads the result."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.loras import LoraLibrary
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import UNET_WEIGHTS, tiny_model, write_folder
from tests.datasets.striped_dataset import make_striped_dataset
from tests.training.recipe_runs import QUIET, batch_of, loss_of, new_recipe, train

SIDE = 16
HALF_PRECISION_LEVELS = 4
"""Grey levels by which rounding the weights to half precision, before or after merging, may change
an image of a few steps."""
LORA = {
    "rank": 4,
    "alpha": 6,
    "unet_modules": ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in"],
    "text_encoder_modules": ["q_proj", "v_proj", "fc1"],
}

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_striped_dataset(tmp_path_factory.mktemp("data") / "stripes", side=SIDE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights."""
    return write_folder(tiny_model(), tmp_path_factory.mktemp("base") / "tiny")


def config_of(
    base: Path, dataset: Path, output: Path, steps: int = 30, **others: Any
) -> dict[str, Any]:
    return {
        "task": "fine_tune",
        "checkpoint": str(base),
        "output": str(output),
        "data": {"dataset": str(dataset), "batch_size": 4, "circular_shifts": 4},
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 1, "weight_decay": 0.0},
        "run": QUIET | {"steps": steps},
        **others,
    }


def saved_weights(folder: Path) -> dict[str, Weights]:
    """Weights of each network of a checkpoint folder."""
    files = {
        "unet": UNET_WEIGHTS,
        "vae": "vae/diffusion_pytorch_model.safetensors",
        "text_encoder": "text_encoder/model.safetensors",
    }
    return {
        part: {name.removeprefix("text_model."): w for name, w in load_file(folder / path).items()}
        for part, path in files.items()
    }


def stock_image(folder: Path, adapter: Path | None = None, prompt: str = "tone") -> np.ndarray:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for word in sorted((adapter / "new_words").glob("*.safetensors")) if adapter else ():
        pipeline.load_textual_inversion(word)
    if adapter is not None and (adapter / "pytorch_lora_weights.safetensors").is_file():
        pipeline.load_lora_weights(adapter)
    image = pipeline(
        prompt,
        height=SIDE,
        width=SIDE,
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    return np.asarray(image, dtype=np.int16)


def riffusion_image(folder: Path, prompt: str = "tone") -> np.ndarray:
    pipeline = RiffusionPipeline.from_pretrained(folder, device="cpu")
    inputs = {"start": {"prompt": prompt, "seed": 3}, "num_inference_steps": 3, "mode": "txt2img"}
    return np.asarray(pipeline.riffuse(InferenceInput.parse(inputs)), dtype=np.int16)


def test_full_fine_tuning_learns_and_keeps_the_other_parts(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(base, dataset, tmp_path / "run")
    before = loss_of(new_recipe(config, tmp_path), tmp_path)
    recipe, folder = train(config, tmp_path)
    assert loss_of(recipe, tmp_path) < 0.7 * before
    found, expected = saved_weights(folder), saved_weights(base)
    for part in ("text_encoder", "vae"):
        assert found[part].keys() == expected[part].keys()
        for name, weight in found[part].items():
            assert torch.equal(weight, expected[part][name].half()), name
    changed = [
        n for n, w in found["unet"].items() if not torch.equal(w, expected["unet"][n].half())
    ]
    assert len(changed) > 0.9 * len(expected["unet"])
    assert stock_image(folder).shape == (SIDE, SIDE, 3)
    assert riffusion_image(folder).shape[0] == SIDE
    assert not (tmp_path / "run/adapter").exists()
    card = (folder / "README.md").read_text()
    assert "base: tiny" in card
    assert "unet in full" in card


def test_full_training_of_the_text_encoder_changes_both_networks(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(base, dataset, tmp_path / "run", steps=2, train_text_encoder=True)
    _, folder = train(config, tmp_path)
    found, expected = saved_weights(folder), saved_weights(base)
    for part in ("text_encoder", "unet"):
        assert any(not torch.equal(w, expected[part][n].half()) for n, w in found[part].items())
    riffusion_image(folder)


@pytest.fixture(scope="module")
def lora_run(base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(recipe before training, recipe after training, folder) of LoRA for both networks."""
    folder = tmp_path_factory.mktemp("lora")
    config = config_of(base, dataset, folder / "run", steps=40, lora=LORA, train_text_encoder=True)
    before = new_recipe(config, folder)
    recipe, _ = train(config, folder)
    return before, recipe, folder


def test_lora_learns_and_its_base_is_frozen_bit_for_bit(base: Path, lora_run: Any) -> None:
    before, recipe, folder = lora_run
    assert loss_of(recipe, folder) < 0.8 * loss_of(before, folder)
    expected = saved_weights(base)
    for part in ("unet", "text_encoder"):
        network = getattr(recipe.objective, part)
        kept = {
            name.replace(".base_layer", ""): weight
            for name, weight in network.state_dict().items()
            if "lora_" not in name
        }
        assert kept.keys() == expected[part].keys()
        for name, weight in kept.items():
            assert torch.equal(weight, expected[part][name]), name
        trained = {name for name, p in network.named_parameters() if p.requires_grad}
        assert trained == {name for name, _ in network.named_parameters() if "lora_" in name}


def test_lora_changes_only_the_layers_that_are_named(base: Path, lora_run: Any) -> None:
    *_, folder = lora_run
    found, expected = saved_weights(folder / "run/checkpoint"), saved_weights(base)
    for part in ("unet", "text_encoder"):
        ends = tuple(f".{module}.weight" for module in LORA[f"{part}_modules"])  # type: ignore[attr-defined]
        for name, weight in found[part].items():
            is_same = torch.equal(weight, expected[part][name].half())
            assert is_same != name.endswith(ends), name


def test_the_merged_weights_are_the_base_with_b_times_a(base: Path, lora_run: Any) -> None:
    _, recipe, folder = lora_run
    merged, expected = saved_weights(folder / "run/checkpoint")["unet"], saved_weights(base)["unet"]
    weights = dict(recipe.objective.unet.named_parameters())
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    down = weights[f"{name}.lora_A.default.weight"]
    up = weights[f"{name}.lora_B.default.weight"]
    update = merged[f"{name}.weight"].float() - expected[f"{name}.weight"]
    torch.testing.assert_close(update, (6 / 4 * up @ down).detach(), atol=2e-3, rtol=0)
    assert update.abs().max() > 0.02


def test_stock_diffusers_with_the_adapter_generates_what_the_merged_checkpoint_does(
    base: Path, lora_run: Any
) -> None:
    *_, folder = lora_run
    merged = stock_image(folder / "run/checkpoint")
    adapted = stock_image(base, folder / "run/adapter")
    assert np.abs(merged - adapted).max() <= HALF_PRECISION_LEVELS
    assert np.abs(merged - stock_image(base)).max() > 5 * HALF_PRECISION_LEVELS
    names = load_file(folder / "run/adapter/pytorch_lora_weights.safetensors")
    assert {name.split(".")[0] for name in names} == {"unet", "text_encoder"}


def test_our_own_pipeline_with_the_adapter_generates_what_the_merged_checkpoint_does(
    base: Path, lora_run: Any
) -> None:
    *_, folder = lora_run
    start = {"prompt": "tone", "seed": 3}
    values = {"start": start, "mode": "txt2img", "duration_s": 0.16, "num_inference_steps": 3}
    images = []
    for checkpoint, loras in (
        (folder / "run/checkpoint", []), (base, [{"id": "adapter"}]), (base, [])
    ):  # fmt: skip
        pipeline = RiffusionPipeline.from_pretrained(checkpoint, device="cpu")
        pipeline.spectrogram_params = SpectrogramParams(num_frequencies=SIDE)
        pipeline.loras = LoraLibrary({"adapter": folder / "run/adapter"})
        image = pipeline.riffuse(InferenceInput.parse(values | {"loras": loras}))
        images.append(np.asarray(image).astype(int))
    merged, adapted, plain = images
    assert np.abs(merged - adapted).max() <= HALF_PRECISION_LEVELS
    assert np.abs(merged - plain).max() > 5 * HALF_PRECISION_LEVELS


def test_a_half_precision_base_is_exported_unrounded(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(base, dataset, tmp_path / "run", lora={"rank": 2}, new_words=["sitar"])
    config["run"] |= {"mixed_precision": "bf16", "steps": 20, "sample_every": 200}
    config["sample"] = {"prompts": ["tone"], "steps": 1, "seeds": 1}
    before = loss_of(new_recipe(config, tmp_path), tmp_path)
    recipe, folder = train(config, tmp_path)
    for name, parameter in recipe.objective.named_parameters():
        precision = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == precision, name
    assert loss_of(recipe, tmp_path) < before
    assert (tmp_path / "run/samples/step-00000020.png").is_file()
    found, expected = saved_weights(folder)["unet"], saved_weights(base)["unet"]
    untouched = [name for name in expected if ".to_" not in name]
    assert all(torch.equal(found[name], expected[name].half()) for name in untouched)


def test_gradient_checkpointing_gives_the_same_gradients(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    config = config_of(base, dataset, tmp_path / "run", lora=LORA, train_text_encoder=True)
    gradients = []
    for is_checkpointed in (False, True):
        recipe = new_recipe(config, tmp_path)
        if is_checkpointed:
            recipe.objective.enable_gradient_checkpointing()
            assert recipe.objective.unet.is_gradient_checkpointing  # type: ignore[union-attr]
        recipe.objective.train()
        examples = recipe.examples("train", tmp_path / "cache")
        batch = batch_of([examples[row, row] for row in range(4)])
        recipe.objective(batch, torch.Generator().manual_seed(0))["loss"].backward()
        gradients.append([p.grad for p in recipe.objective.parameters() if p.requires_grad])
    assert any(gradient.abs().max() > 0 for gradient in gradients[0])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_state_holds_only_trained_weights_and_a_run_resumes_from_it(
    base: Path, dataset: Path, tmp_path: Path
) -> None:
    lora = {"rank": 4, "dropout": 0.3}  # dropout uses the global generator
    config = config_of(base, dataset, tmp_path / "run", lora=lora, new_words=["sitar"], steps=4)
    config["run"]["save_every"] = 2
    config["run"]["ema_decay"] = 0.9
    _, folder = train(config, tmp_path)
    whole = load_file(tmp_path / "run/adapter/pytorch_lora_weights.safetensors")
    words = load_file(tmp_path / "run/adapter/new_words/sitar.safetensors")
    state = load_file(tmp_path / "run/states/step-00000002/model.safetensors")
    assert all("lora_" in name or name.endswith("token_embedding.new") for name in state)
    for path in (folder, tmp_path / "run/adapter", tmp_path / "run/states/step-00000004"):
        shutil.rmtree(path)
    train(config, tmp_path)
    again = load_file(tmp_path / "run/adapter/pytorch_lora_weights.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    same = load_file(tmp_path / "run/adapter/new_words/sitar.safetensors")
    assert torch.equal(words["sitar"], same["sitar"])


def test_a_run_validates_samples_and_replays(base: Path, dataset: Path, tmp_path: Path) -> None:
    config = config_of(base, dataset, tmp_path / "run", steps=4, lora={"rank": 2})
    config["run"] = {"steps": 4, "validate_every": 4, "sample_every": 40, "validation_batches": 1}
    config["sample"] = {"prompts": ["beat"], "steps": 1, "seeds": 1}
    config["data"]["replay"] = {"dataset": str(dataset), "share": 0.25}
    _, folder = train(config, tmp_path)
    assert (tmp_path / "run/samples/step-00000004.png").is_file()
    assert "25% of the examples, from 24 images in `stripes`" in (folder / "README.md").read_text()
