"""Weights that aren't a checkpoint are named for what they are, and JSON may have a mark."""

import codecs
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from riffusion.checkpoint.loader import load_components
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.export.adapter import LORA_NAME
from tests.checkpoint.checkpoints import TinyModel
from tests.checkpoint.refusal import refused

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
MERGE = "merge it into its checkpoint and name that"
NAMES = {
    "PEFT": [f"base_model.model.{ATTENTION}.to_q.lora_A.weight"],
    "PEFT, text": ["base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight"],
    "diffusers": [f"unet.{ATTENTION}.to_q.lora_A.weight", f"unet.{ATTENTION}.to_q.lora_B.weight"],
    "diffusers, down": [f"unet.{ATTENTION}.to_q.lora.down.weight"],
    "diffusers, processor": [f"{ATTENTION}.processor.to_q_lora.up.weight"],
    "diffusers, text": ["text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_A.weight"],
    "diffusers, linear": ["text_encoder.x.q_proj.lora_linear_layer.down.weight"],
    "kohya": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"],
    "kohya, text": ["lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"],
    "cloneofsimo": ["unet:0:up", "unet:0:down", "text_encoder:12:up"],
    "LyCORIS": ["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"],
    "LyCORIS, LoKr": ["lora_unet_mid_block_attentions_0_proj_in.lokr_w2"],
    "LyCORIS, full": ["lora_unet_mid_block_attentions_0_proj_in.diff"],
    "LyCORIS, own names": ["lycoris_mid_block_attentions_0_proj_in.lora_up.weight"],
}


def file_with(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("kind", NAMES)
def test_a_lora_is_named_with_its_layout(tmp_path: Path, kind: str) -> None:
    path = file_with(tmp_path, {name: torch.zeros(4, 32) for name in NAMES[kind]})
    message = refused(path)
    assert f"is a LoRA ({kind.partition(',')[0]}), not a checkpoint; {MERGE}" in message
    assert "load_lora_weights" in message


@pytest.mark.parametrize("prefix", ["", "unet.", "base_model.model."])
def test_a_lora_of_peft_itself_is_named(tmp_path: Path, prefix: str, model: TinyModel) -> None:
    unet = UNet2DConditionModel.from_config(model.unet.config)
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_q"]))
    tensors = get_peft_model_state_dict(unet)
    path = tmp_path / LORA_NAME
    save_file({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, path)
    assert "is a LoRA (" in refused(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("emb_params", (3, 768)),
        ("<church-bells>", (768,)),
        ("church-bells", (768,)),
        ("sks", (1, 768)),
        ("sks", (2, 128)),
        ("clip_l", (2, 768)),
    ],
)
def test_a_textual_inversion_is_named(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    message = refused(file_with(tmp_path, {name: torch.zeros(shape)}))
    assert "is a textual inversion (the embedding of a word), not a checkpoint" in message
    assert MERGE in message
    assert "load_textual_inversion" in message


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("control_model.input_blocks.0.0.weight", "is a ControlNet"),
        ("controlnet_cond_embedding.conv_in.weight", "is a ControlNet"),
        ("ip_adapter.1.to_k_ip.weight", "is an IP-Adapter"),
        ("first_stage_model.decoder.conv_in.weight", "is a VAE, not a checkpoint; name the folder"),
        ("model.diffusion_model.joint_blocks.0.x", "is a Stable Diffusion 3 model"),
    ],
)
def test_other_weights_are_named(tmp_path: Path, name: str, kind: str) -> None:
    assert kind in refused(file_with(tmp_path, {name: torch.zeros(4)}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_with_a_byte_order_mark_is_read(folder: Path, encoding: str) -> None:
    SpectrogramParams(num_frequencies=128).save(folder)
    plain = load_components(folder, device="cpu")
    marked = [*folder.rglob("*.json"), *folder.rglob("merges.txt")]
    assert {"model_index.json", "spectrogram_params.json", "tokenizer.json"} <= {
        path.name for path in marked
    }
    for path in marked:
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
        assert path.read_bytes().startswith((codecs.BOM_UTF8, codecs.BOM_UTF16))
    loaded = load_components(folder, device="cpu")
    assert loaded.spectrogram_params == plain.spectrogram_params
    assert loaded.tokenizer("piano bells").input_ids == plain.tokenizer("piano bells").input_ids
    assert loaded.unet.config == plain.unet.config


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_old_tokenizer_with_byte_order_marks_is_read(old_folder: Path, encoding: str) -> None:
    plain = load_components(old_folder, device="cpu").tokenizer("piano bells").input_ids
    for path in (old_folder / "tokenizer").iterdir():
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert load_components(old_folder, device="cpu").tokenizer("piano bells").input_ids == plain
