"""Weights that aren't a checkpoint: what they are, by the names of their tensors and files.

LoRAs and textual inversions are trained for a checkpoint and say nothing without it. They are given
beside it (`riffusion.checkpoint.lora`, `riffusion.checkpoint.embeddings`), or merged into it first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_OTHER_MODEL = "use a Stable Diffusion 1.x one"
_FOLDER = "name the folder with model_index.json"
_MERGE_LORA = (
    "merge it into its checkpoint and name that: in diffusers load_lora_weights, fuse_lora, "
    "unload_lora_weights, then save_pretrained; or name the checkpoint and add this by --lora"
)
_MERGE_EMBEDDING = (
    "merge it into its checkpoint and name that: in diffusers load_textual_inversion, then "
    "save_pretrained; or name the checkpoint and add this by --embedding"
)
_LORA = "a LoRA ({}), not a checkpoint"
_EMBEDDING = "a textual inversion (the embedding of a word), not a checkpoint"

_TEXT_WIDTHS = (128, 768, 1024, 1280)
"""Widths of text encoders: of the embedded checkpoint, and of Stable Diffusion 1.x, 2.x and XL."""
_KINDS = [  # (a pattern for the name of a tensor, what the file is, the remedy); the first counts
    (r"conditioner\.embedders\.", "a Stable Diffusion XL model", _OTHER_MODEL),
    (r"cond_stage_model\.model\.", "a Stable Diffusion 2.x model", _OTHER_MODEL),
    (r"(model\.diffusion_model\.)?double_blocks\.", "a Flux model", _OTHER_MODEL),
    (r"(model\.diffusion_model\.)?joint_blocks\.", "a Stable Diffusion 3 model", _OTHER_MODEL),
    (r".*\.(hada_w[12]|lokr_w[12]|oft_|diff(_b)?$|on_input$)",
     _LORA.format("LyCORIS"), _MERGE_LORA),
    (r"lycoris_", _LORA.format("LyCORIS"), _MERGE_LORA),
    (r"base_model\.model\..*\.(lora|ia3)_", _LORA.format("PEFT"), _MERGE_LORA),
    (r"lora_(unet|te\d?|transformer|prior)_", _LORA.format("kohya"), _MERGE_LORA),
    (r".*(\.|_)lora(_[AB]\b|_(down|up|mid)\b|\.(down|up)\b|_linear_layer|_embedding_)",
     _LORA.format("diffusers"), _MERGE_LORA),
    (r"lora_", _LORA.format("kohya"), _MERGE_LORA),
    (r"(unet|text_encoder):\d+:(up|down)$", _LORA.format("cloneofsimo"), _MERGE_LORA),
    (r"(emb_params|string_to_param|clip_[lg]|<[^<>]+>)$", _EMBEDDING, _MERGE_EMBEDDING),
    (r"(control_model|controlnet_|input_hint_block)", "a ControlNet, not a checkpoint",
     "use the checkpoint that it was made for"),
    (r"(image_proj|ip_adapter)\.", "an IP-Adapter, not a checkpoint",
     "use the checkpoint that it was made for"),
    (r"(down_blocks|up_blocks|encoder|decoder|text_model|conv_in|time_embedding)\.",
     "one part of a diffusers folder", _FOLDER),
]  # fmt: skip


def foreign_kind(weights: Mapping[str, torch.Tensor]) -> str | None:
    """What a file without all weights of a checkpoint is, and the remedy: `a …; use …`.

    Args:
        weights: tensors by name.

    Returns:
        None if the names are of no known kind.
    """
    for pattern, kind, remedy in _KINDS:
        if any(re.match(pattern, name) for name in weights):
            return f"{kind}; {remedy}"
    if weights and all(name.startswith("first_stage_model.") for name in weights):
        return f"a VAE, not a checkpoint; {_FOLDER}, or a file that has all networks"
    are_words = all(  # diffusers names the embedding by the word itself
        "." not in name and tensor.ndim in (1, 2) and tensor.shape[-1] in _TEXT_WIDTHS
        for name, tensor in weights.items()
    )
    return f"{_EMBEDDING}; {_MERGE_EMBEDDING}" if weights and are_words else None


def adapter_in_folder(names: Iterable[str]) -> str | None:
    """What adapters a folder without `model_index.json` holds: `holds …; merge …`.

    Args:
        names: names of its files.

    Returns:
        None if no name is one of an adapter.
    """
    files = [name.lower() for name in names]
    if any("lora" in name or name.startswith("adapter_") for name in files):
        return f"holds LoRA weights, not a checkpoint; {_MERGE_LORA}"
    if any(name.startswith(("learned_embeds", "token_identifier")) for name in files):
        return f"holds a textual inversion, not a checkpoint; {_MERGE_EMBEDDING}"
    return None
