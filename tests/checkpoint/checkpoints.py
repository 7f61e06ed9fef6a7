"""Tiny Stable Diffusion 1.x checkpoints with random weights, in every supported format."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NETWORKS = ("vae", "unet", "text_encoder")
UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
MERGES = ["p i", "pi a", "pia n", "pian o</w>", "b e", "be l", "bel l", "bell s</w>"]
LATENT_CHANNELS = 4
HIDDEN_SIZE = 64
UNET_CHANNELS = (32, 64)
LAYERS = 1
TRAINING_STEPS = 1000

Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass
class TinyModel:
    """The parts of a tiny model; single files' configurations can be derived from their shapes."""

    vae: Any
    text_encoder: Any
    unet: Any
    scheduler: Any
    vocab: dict[str, int]


def tiny_model(seed: int = 0) -> TinyModel:
    """A model with random weights, of about the standard deviation of trained ones."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            latent_channels=LATENT_CHANNELS,
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=LAYERS,
        )
        unet = UNet2DConditionModel(
            sample_size=24,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=UNET_CHANNELS,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=LAYERS,
            cross_attention_dim=HIDDEN_SIZE,
            attention_head_dim=8,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocab),
                hidden_size=HIDDEN_SIZE,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=1,
                max_position_embeddings=77,
                hidden_act="quick_gelu",
                bos_token_id=len(vocab) - 2,
                eos_token_id=len(vocab) - 1,
                pad_token_id=len(vocab) - 1,
            )
        )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        set_alpha_to_one=False,
    )
    return TinyModel(vae.eval(), text_encoder.eval(), unet.eval(), scheduler, vocab)


def distilled_copy(model: TinyModel) -> TinyModel:
    """The model with a UNet that also takes the guidance, as an embedding of 8 numbers.

    The projection of the embedding has random weights; all others are the model's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        unet: Any = UNet2DConditionModel.from_config(model.unet.config, time_cond_proj_dim=8)
    unet.load_state_dict(model.unet.state_dict(), strict=False)
    return dataclasses.replace(model, unet=unet.eval())


def write_folder(model: TinyModel, folder: Path, *, variant: str | None = None) -> Path:
    """A diffusers folder as today's diffusers and transformers write it, with safetensors.

    Args:
        model: model to write.
        folder: folder to write into.
        variant: `fp16` for weights in half precision under the names of that variant.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in NETWORKS:
        network = getattr(model, part)
        network.save_pretrained(folder / part)
        if variant:
            stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
            half = {name: value.half() for name, value in network.state_dict().items()}
            save_file(half, folder / part / f"{stem}.{variant}.safetensors")
            (folder / part / f"{stem}.safetensors").unlink()
    model.scheduler.save_pretrained(folder / "scheduler")
    write_old_tokenizer(model, folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    shutil.rmtree(folder / "tokenizer")
    tokenizer.save_pretrained(folder / "tokenizer")
    _write_index(folder, {"safety_checker": [None, None], "feature_extractor": [None, None]})
    return folder


def write_old_folder(model: TinyModel, folder: Path) -> Path:
    """A diffusers folder in the format of diffusers 0.9, in which riffusion-model-v1 was published.

    It has pickled weights under that release's names, and a safety checker.
    """
    weights = {
        "vae": {_old_vae_name(name): value for name, value in model.vae.state_dict().items()},
        "unet": model.unet.state_dict(),
        "text_encoder": {
            f"text_model.{name}": value for name, value in model.text_encoder.state_dict().items()
        }
        | {"text_model.embeddings.position_ids": torch.arange(77)[None]},
    }
    for part, tensors in weights.items():
        (folder / part).mkdir(parents=True)
        stem = "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"
        torch.save(dict(tensors), folder / part / f"{stem}.bin")
        config = (
            json.loads(getattr(model, part).config.to_json_string())
            if (part == "text_encoder")
            else dict(getattr(model, part).config)
        )
        later = {"scaling_factor", "mid_block_type", "resnet_time_scale_shift", "force_upcast"}
        kept = {name: value for name, value in config.items() if name not in later}
        write_json(folder / part / "config.json", kept | {"_diffusers_version": "0.9.0"})
    write_old_tokenizer(model, folder / "tokenizer")
    settings = dict(model.scheduler.config) | {"_class_name": "PNDMScheduler"}
    del settings["timestep_spacing"], settings["prediction_type"]
    write_json(folder / "scheduler" / "scheduler_config.json", settings)
    write_json(
        folder / "feature_extractor" / "preprocessor_config.json",
        {"feature_extractor_type": "CLIPFeatureExtractor"},
    )
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"never read")
    _write_index(
        folder,
        {
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        },
    )
    return folder


def write_single_file(model: TinyModel, path: Path, *, schedule: bool = True) -> Path:
    """A file in the original layout of Stable Diffusion 1.x, with the tokenizer beside it.

    Args:
        model: model to write.
        path: file to write; it ends in `.safetensors` or `.ckpt`.
        schedule: include the noise schedule, as original training wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = original_weights(model)
    if schedule:
        tensors["alphas_cumprod"] = model.scheduler.alphas_cumprod.clone()
    if path.suffix == ".ckpt":
        torch.save({"state_dict": tensors, "global_step": 1, "epoch": 0}, path)
    else:
        save_file(tensors, path)
    write_old_tokenizer(model, path.parent / "tokenizer")
    return path


def original_weights(model: TinyModel) -> Tensors:
    """The weights under the names of the original code."""
    tensors = {
        f"model.diffusion_model.{_original_unet_name(name)}": value
        for name, value in model.unet.state_dict().items()
    }
    for name, value in model.vae.state_dict().items():
        linear = re.search(r"attentions\.0\.to_.*weight", name)
        tensors[f"first_stage_model.{_original_vae_name(name)}"] = (
            value[:, :, None, None] if linear else value
        )
    for name, value in model.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name}"] = value
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def shard(path: Path, count: int = 2) -> list[Path]:
    """Split a safetensors file into shards with an index, as large models are published."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    paths = []
    for number in range(count):
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-{count:05}.safetensors")
        chosen = names[number::count]
        save_file({name: tensors[name] for name in chosen}, part)
        weight_map |= dict.fromkeys(chosen, part.name)
        paths.append(part)
    path.unlink()
    write_json(path.with_name(f"{path.name}.index.json"), {"weight_map": weight_map})
    return paths


def change_json(path: Path, **values: Any) -> None:
    """Set fields of a JSON file."""
    write_json(path, json.loads(path.read_text()) | values)


def change_weights(path: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors of a safetensors file in place."""
    from safetensors.torch import load

    tensors = load(path.read_bytes())
    change(tensors)
    save_file(tensors, path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def write_old_tokenizer(model: TinyModel, folder: Path) -> None:
    """`vocab.json` and `merges.txt`, without `tokenizer.json`."""
    write_json(folder / "vocab.json", model.vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False}
    token["single_word"] = False
    end = "<|endoftext|>"
    write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": token | {"content": "<|startoftext|>"},
            "eos_token": token | {"content": end},
            "unk_token": token | {"content": end},
            "pad_token": end,
            "model_max_length": 77,
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def _write_index(folder: Path, others: dict[str, Any]) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.9.0",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(folder / "model_index.json", index | others)


def _old_vae_name(name: str) -> str:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    return re.sub(r"to_(q|k|v|out\.0)", lambda match: old[match[0]], name)


_UNET_RENAMES = {
    r"^time_embedding\.linear_1": "time_embed.0",
    r"^time_embedding\.linear_2": "time_embed.2",
    r"^conv_in": "input_blocks.0.0",
    r"^conv_norm_out": "out.0",
    r"^conv_out": "out.2",
    r"^mid_block\.resnets\.0": "middle_block.0",
    r"^mid_block\.attentions\.0": "middle_block.1",
    r"^mid_block\.resnets\.1": "middle_block.2",
}
_RESNET_RENAMES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _original_unet_name(name: str) -> str:
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", name):
        direction, level, kind, number, rest = match.groups()
        block = int(level) * (LAYERS + 1) + int(number) + (direction == "down")
        side = "input" if direction == "down" else "output"
        name = f"{side}_blocks.{block}.{int(kind == 'attentions')}.{rest}"
    elif match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.*)", name):
        name = f"input_blocks.{(int(match[1]) + 1) * (LAYERS + 1)}.0.op.{match[2]}"
    elif match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.(.*)", name):
        # After the attention where the level has one: only the last of the two levels does.
        place = 2 if int(match[1]) == len(UNET_CHANNELS) - 1 else 1
        name = f"output_blocks.{int(match[1]) * (LAYERS + 1) + LAYERS}.{place}.{match[2]}"
    for pattern, new in _UNET_RENAMES.items():
        name = re.sub(pattern, new, name)
    if "transformer_blocks" not in name:
        for old, new in _RESNET_RENAMES.items():
            name = name.replace(f".{old}.", f".{new}.")
    return name


def _original_vae_name(name: str) -> str:
    last = 1  # the last of the two levels; the original counts the decoder's from the other end
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{last - int(match[1])}", name)
    renames = {
        r"down_blocks\.": "down.",
        r"mid_block\.resnets\.0": "mid.block_1",
        r"mid_block\.resnets\.1": "mid.block_2",
        r"mid_block\.attentions\.0": "mid.attn_1",
        r"\.resnets\.": ".block.",
        r"(down|up)samplers\.0": r"\1sample",
        r"conv_shortcut": "nin_shortcut",
        r"conv_norm_out": "norm_out",
        r"group_norm": "norm",
        r"to_(q|k|v)\.": r"\1.",
        r"to_out\.0": "proj_out",
    }
    for pattern, new in renames.items():
        name = re.sub(pattern, new, name)
    return name
