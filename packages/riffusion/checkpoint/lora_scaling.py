"""The factor alpha / rank of a LoRA whose alpha isn't in a tensor: where it is, and what it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY

from riffusion.checkpoint.files import read_json
from riffusion.errors import CheckpointError, InputError

CONFIG_NAME = "adapter_config.json"

_REMEDY = "merge it into its checkpoint and name that as the checkpoint"


@dataclass(frozen=True)
class LoraScaling:
    """Settings of PEFT's `LoraConfig`; none where alpha is the rank.

    Args:
        settings: by part (`unet`, `text_encoder`), or by an empty name for both.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, part: str, layer: str, rank: int) -> float:
        """The factor of a layer.

        Args:
            part: the part that it belongs to.
            layer: its name, such as `mid_block.attentions.0.proj_in`.
            rank: rank of its update.
        """
        settings = self.settings.get(part, self.settings.get("", {}))
        patterns = settings.get("alpha_pattern") or {}
        matching = (  # PEFT's rule: a pattern is the end of a name
            alpha
            for pattern, alpha in patterns.items()
            if re.fullmatch(rf"(.*\.)?({pattern})", layer)
        )
        alpha = float(next(matching, settings.get("lora_alpha", rank)))
        return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def find_scaling(file: Path) -> LoraScaling:
    """The settings in adapter_config.json beside a file, or in its header, as diffusers writes it.

    Raises:
        InputError: they are damaged, or ask for more than a LoRA.
    """
    try:
        if file.stem == "adapter_model" and (file.parent / CONFIG_NAME).is_file():
            scaling = LoraScaling({"": read_json(file.parent / CONFIG_NAME)})
        else:
            scaling = LoraScaling(_header_settings(file))
        for part in scaling.settings:
            scaling.of(part, "", 1)
    except (CheckpointError, ValueError, TypeError, AttributeError, re.error) as error:
        raise InputError(f"{file} has no valid LoraConfig ({error}); download it again") from error
    for settings in scaling.settings.values():
        _check_settings(settings, file)
    return scaling


def _header_settings(file: Path) -> dict[str, dict[str, Any]]:
    """Settings in the header of a safetensors file, by part: `unet.r` is `r` of the part `unet`."""
    if file.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(file, framework="pt") as opened:
        text = (opened.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY)
    by_part: dict[str, dict[str, Any]] = {}
    for name, value in json.loads(text or "{}").items():
        part, _, setting = name.partition(".")
        by_part.setdefault(part, {})[setting] = value
    return by_part


def _check_settings(settings: Mapping[str, Any], file: Path) -> None:
    if (kind := settings.get("peft_type") or "LORA") != "LORA":
        raise InputError(f"{file}: peft_type={kind!r} must be 'LORA'; {_REMEDY}")
    for name in ("use_dora", "modules_to_save", "fan_in_fan_out", "lora_bias"):
        if settings.get(name):
            raise InputError(f"{file}: {name}={settings[name]} is more than a LoRA; {_REMEDY}")
