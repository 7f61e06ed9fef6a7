"""Tensors that cost a network call, kept for the next request that needs them."""

import hashlib
import threading
from collections.abc import Callable, Hashable

import torch
from cachetools import LRUCache
from PIL import Image

Tensors = tuple[torch.Tensor, ...]


class TensorCache:
    """Tensors by key; beyond a number of bytes those that were not used for longest are dropped.

    Several threads may share it. Two that miss the same key at once both make it, to equal values.

    Args:
        max_bytes: of all tensors together. Larger ones are made anew each time.

    Attributes:
        num_hits, num_misses: since the beginning.
    """

    def __init__(self, max_bytes: int) -> None:
        self._entries: LRUCache[Hashable, Tensors] = LRUCache(max_bytes, getsizeof=_num_bytes)
        self._lock = threading.Lock()
        self.num_hits = 0
        self.num_misses = 0

    def get(self, key: Hashable, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of a key, made if they aren't there. They must not be changed."""
        with self._lock:
            if (found := self._entries.get(key)) is not None:
                self.num_hits += 1
                return found
            self.num_misses += 1
        made = make()
        if _num_bytes(made) <= self._entries.maxsize:
            with self._lock:
                self._entries[key] = made
        return made


def image_key(image: Image.Image) -> Hashable:
    """Equal for images of the same pixels."""
    return image.mode, image.size, hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _num_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors)
