"""LoRAs that can't be used: one line that names the file, the rule and the remedy."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from riffusion.checkpoint.lora import read_lora
from riffusion.errors import InputError
from tests.checkpoint.checkpoints import TinyModel, change_json, write_single_file
from tests.checkpoint.loras import Tensors, tiny_lora, write_diffusers, write_kohya, write_peft

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
KOHYA_LAYER = f"lora_unet_{ATTENTION.replace('.', '_')}_to_q"


def message(path: Path, model: TinyModel) -> str:
    networks = {"unet": model.unet, "text_encoder": model.text_encoder}
    with pytest.raises(InputError) as refusal:
        read_lora(path, networks)
    text = str(refusal.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def changed(path: Path, change: Callable[[Tensors], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def first(tensors: Tensors, end: str) -> str:
    return next(name for name in sorted(tensors) if name.endswith(end))


def set_first(end: str, value: torch.Tensor) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({first(tensors, end): value})


def rename(old: str, new: str) -> Callable[[Tensors], Any]:
    def change(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


CHANGES = {
    "a matrix of another width": (
        set_first("to_q.lora_A.weight", torch.zeros(4, 2048)),
        "to_q has matrices of shape (32, 4) and (4, 2048), but the layer has 32 outputs and 32",
    ),
    "matrices of two ranks": (
        set_first("to_q.lora_A.weight", torch.zeros(5, 32)),
        "use a LoRA that was trained on this checkpoint",
    ),
    "a scalar": (set_first("to_q.lora_A.weight", torch.zeros(())), "of shape (32, 4) and ()"),
    "nothing but A": (
        lambda tensors: tensors.pop(first(tensors, "to_q.lora_B.weight")),
        "lacks one of its two matrices; download the LoRA again",
    ),
    "NaN": (
        set_first("to_q.lora_B.weight", torch.full((32, 4), torch.nan)),
        "to_q has values that are not finite numbers",
    ),
    "integers": (
        set_first("to_q.lora_B.weight", torch.zeros(32, 4, dtype=torch.int64)),
        "not finite numbers",
    ),
    "names that match nothing": (
        rename("down_blocks.0", "down_blocks.7"),
        "layers match nothing in this checkpoint's unet (down_blocks.7.",
    ),
    "a text encoder with more layers": (
        rename("encoder.layers.1.", "encoder.layers.11."),
        "match nothing in this checkpoint's text_encoder (encoder.layers.11.",
    ),
    "a bias": (
        lambda tensors: tensors.update({"unet.conv_in.lora_B.bias": torch.zeros(32)}),
        "conv_in.lora_B.bias is no LoRA of a layer's weight",
    ),
    "Stable Diffusion XL": (
        lambda tensors: tensors.update({"text_encoder_2.x.lora_A.weight": torch.zeros(1)}),
        "is a LoRA for Stable Diffusion XL; use one for Stable Diffusion 1.x",
    ),
    "DoRA": (
        lambda tensors: tensors.update({"unet.x.lora_magnitude_vector": torch.zeros(1)}),
        "is a DoRA; merge it into its checkpoint",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_lora_that_does_not_fit(name: str, model: TinyModel, tmp_path: Path) -> None:
    path = write_diffusers(tiny_lora(model), tmp_path)
    change, expected = CHANGES[name]
    changed(path, change)
    assert expected in message(path, model)


KOHYA = {
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": "is a LoRA for Stable Diffusion XL",
    f"{KOHYA_LAYER}.hada_w1_a": "is a LyCORIS adapter; merge it",
    f"{KOHYA_LAYER}.lokr_w1": "is a LyCORIS adapter",
    f"{KOHYA_LAYER}.dora_scale": "is a DoRA",
    f"{KOHYA_LAYER}.lora_mid.weight": "is a LoRA with a third matrix (lora_mid)",
    "lora_unet_nothing.lora_down.weight": "has layers that Stable Diffusion 1.x lacks",
    "lora_unet_x.alpha": "has layers that Stable Diffusion 1.x lacks",
    "transformer.x.lora_A.weight": "is a LoRA for a transformer such as Flux's",
}


@pytest.mark.parametrize("name", KOHYA)
def test_a_file_of_kohya_with_more_in_it(name: str, model: TinyModel, tmp_path: Path) -> None:
    path = write_kohya(tiny_lora(model, ("unet",)), tmp_path)
    changed(path, lambda tensors: tensors.update({name: torch.zeros(4, 32)}))
    assert KOHYA[name] in message(path, model)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (torch.tensor(torch.nan), "to_q has alpha=nan; download the LoRA again"),
        (torch.zeros(2), "has layers that Stable Diffusion 1.x lacks (a Tensor with 2 elements"),
    ],
)
def test_an_alpha_that_is_no_number(
    alpha: torch.Tensor, expected: str, model: TinyModel, tmp_path: Path
) -> None:
    path = write_kohya(tiny_lora(model, ("unet",)), tmp_path)
    changed(path, set_first("attn1_to_q.alpha", alpha))
    assert expected in message(path, model)


def test_original_names_of_the_blocks_are_understood(model: TinyModel, tmp_path: Path) -> None:
    name = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
    path = tmp_path / "original.safetensors"
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, path)
    lora = read_lora(path, {"unet": model.unet, "text_encoder": model.text_encoder})
    (found,) = lora.updates["unet"].items()
    assert found[0] == f"{ATTENTION}.to_q"
    assert torch.allclose(found[1].of(torch.zeros(32, 32)), up @ down, atol=1e-5)


def test_files_that_are_no_lora(model: TinyModel, tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "none.safetensors", model)
    (tmp_path / "empty").mkdir()
    assert "has no adapter_model.safetensors or pytorch_lora" in message(tmp_path / "empty", model)
    whole = write_single_file(model, tmp_path / "whole.safetensors")
    assert "holds no LoRA, but" in message(whole, model)
    word = tmp_path / "word.safetensors"
    save_file({"emb_params": torch.zeros(1, 64)}, word)
    assert "is a textual inversion (the embedding of a word), not a LoRA" in message(word, model)
    for name, content in (
        ("text.safetensors", b"<html>Not found</html>"),
        ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ("cut.safetensors", write_kohya(tiny_lora(model), tmp_path).read_bytes()[:5000]),
    ):
        (tmp_path / name).write_bytes(content)
        message(tmp_path / name, model)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_pickle_with_code_is_refused(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lora.bin"
    path.write_bytes(pickle.dumps({"unet.x.lora_A.weight": _Code()}))
    assert "was refused" in message(path, model)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"peft_type": "LOHA"}, "peft_type='LOHA' must be 'LORA'"),
        ({"use_dora": True}, "use_dora=True is more than a LoRA"),
        ({"modules_to_save": ["conv_in"]}, "modules_to_save=['conv_in'] is more than a LoRA"),
        ({"lora_alpha": "much"}, "has no valid LoraConfig"),
        ({"alpha_pattern": {"(": 3}}, "has no valid LoraConfig"),
    ],
)
def test_settings_of_peft_that_are_no_lora_s(
    settings: dict[str, Any], expected: str, model: TinyModel, tmp_path: Path
) -> None:
    path = write_peft(tiny_lora(model, ("unet",)), tmp_path)
    change_json(path / "adapter_config.json", **settings)
    assert expected in message(path, model)
    (path / "adapter_config.json").write_text(json.dumps([]))
    assert "has no valid LoraConfig" in message(path, model)
