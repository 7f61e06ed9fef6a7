"""LoRAs of requests: by id, loaded when they are first used, and merged for a UNet call.

The checkpoint's own weights never change. A call that needs LoRAs gets the merged weights of the
layers that they update, in place of the layers' own, for the duration of the call
(`torch.func.functional_call`). So requests with other LoRAs, or with none, are independent of it;
those with the same LoRAs at the same weights share calls.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from riffusion.datatypes import LoraInput
from riffusion.errors import InputError, shortened
from riffusion.runtime.cache import TensorCache, network_key

if TYPE_CHECKING:
    from riffusion.checkpoint.lora import Lora

logger = logging.getLogger(__name__)

MAX_LOADED = 32
"""LoRAs that are kept ready. Most take 3 to 150 MB, which the system can read again from files."""
MERGED_BYTES = 2 * 2**30
"""Limit for merged weights. A LoRA of all attention layers of Stable Diffusion takes 0.2 GB in half
precision. What doesn't fit is merged again for each call."""
_MAX_IDS_SHOWN = 40
_FIELD = "loras"

Networks = Mapping[str, Any]
"""A checkpoint's `unet` and `text_encoder`."""


@dataclass(frozen=True)
class LoraStack:
    """The LoRAs of a request. Equal ones can share a call.

    Args:
        members: LoRAs with their weights, none of them 0, in the order of their ids.
        cache: merged weights, which stacks share.
    """

    members: tuple[tuple[Lora, float], ...] = ()
    cache: TensorCache = field(default_factory=lambda: TensorCache(0), compare=False, repr=False)

    def of_part(self, part: str) -> tuple[tuple[Lora, float], ...]:
        """The members that change a part; equal ones change it equally."""
        return tuple((lora, weight) for lora, weight in self.members if lora.updates[part])

    def weights(self, part: str, network: Any) -> dict[str, Any]:
        """Merged weights of the layers that the LoRAs update, by name; empty if there are none.

        Args:
            part: `unet` or `text_encoder`.
            network: that network of the checkpoint.
        """
        members = self.of_part(part)
        if not members:
            return {}
        names = sorted({name for lora, _ in members for name in lora.updates[part]})
        layers = [network.get_submodule(name).get_parameter("weight") for name in names]

        def merge() -> tuple[Any, ...]:
            pairs = zip(names, layers, strict=True)
            return tuple(_merged(layer, part, name, members) for name, layer in pairs)

        merged = self.cache.get((part, members, network_key(network)), merge)
        return {f"{name}.weight": tensor for name, tensor in zip(names, merged, strict=True)}


NO_LORAS = LoraStack()


def _merged(layer: Any, part: str, name: str, members: Sequence[tuple[Lora, float]]) -> Any:
    total = layer.detach().float()
    for lora, weight in members:
        if name in lora.updates[part]:
            total = total + weight * lora.updates[part][name].of(layer.detach())
    return total.to(layer.dtype)


class LoraLibrary:
    """LoRAs by id. Thread-safe.

    Ids come from requests, so they are only looked up in a table; they never become part of a path.

    Args:
        files: file or folder of each LoRA, by id.

    Attributes:
        merged: merged weights, which requests share.
    """

    def __init__(self, files: Mapping[str, Path] | None = None) -> None:
        self._files = dict(files or {})
        self._loaded: LRUCache[str, Lora] = LRUCache(MAX_LOADED)
        self._lock = threading.Lock()
        self.merged = TensorCache(MERGED_BYTES)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, sorted."""
        return tuple(sorted(self._files))

    def stack(self, wanted: Sequence[LoraInput], networks: Networks) -> LoraStack:
        """The LoRAs of a request.

        Args:
            wanted: ids and weights; those with a weight of 0 are left out.
            networks: the checkpoint's networks.

        Raises:
            InputError: an id is unknown or occurs twice, or its LoRA can't be used.
        """
        if not wanted:
            return NO_LORAS
        found: dict[str, tuple[Lora, float]] = {}
        for lora in wanted:
            if lora.id not in self._files:
                known = ", ".join(self.ids[:_MAX_IDS_SHOWN]) or "(none is available)"
                shown = shortened(repr(lora.id))
                raise InputError(f"{shown} is unknown; use one of: {known}", _FIELD)
            if lora.id in found:
                raise InputError(f"{lora.id!r} occurs twice; name each once", _FIELD)
            found[lora.id] = self._load(lora.id, networks), lora.weight
        members = tuple(found[i] for i in sorted(found) if found[i][1] != 0)
        return LoraStack(members, self.merged)

    def check(self, networks: Networks) -> None:
        """Load every LoRA.

        Raises:
            InputError: one of them can't be used.
        """
        for lora_id in self.ids:
            self._load(lora_id, networks)

    def drop_misfits(self, networks: Networks) -> None:
        """Leave out what can't be used with a checkpoint, with a warning in the log."""
        for lora_id in self.ids:
            try:
                self._load(lora_id, networks)
            except InputError as error:
                logger.warning("left out: %s", error)
                del self._files[lora_id]
        logger.info("LoRAs: %s", ", ".join(self.ids) or "none")

    def _load(self, lora_id: str, networks: Networks) -> Lora:
        with self._lock:
            from riffusion.checkpoint.lora import read_lora  # needs PyTorch

            lora = self._loaded.get(lora_id)
            if lora is None:
                try:
                    lora = read_lora(self._files[lora_id], networks)
                except InputError as error:
                    raise InputError(str(error), _FIELD) from error
                self._loaded[lora_id] = lora
            return lora
