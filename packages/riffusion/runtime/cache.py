"""A cache of tensors, or NumPy arrays, that are expensive to compute, shared between requests."""

import hashlib
import itertools
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from cachetools import LRUCache
from PIL import Image

Tensors = tuple[Any, ...]


class TensorCache:
    """Least-recently-used cache of tensors, limited in bytes.

    Thread-safe. Two threads that miss the same key at the same time both compute it.

    Args:
        max_bytes: limit for all tensors together. Larger entries are not stored.

    Attributes:
        num_hits, num_misses: lookups since the cache was made.
    """

    def __init__(self, max_bytes: int) -> None:
        self._entries: LRUCache[Hashable, Tensors] = LRUCache(max_bytes, getsizeof=_num_bytes)
        self._lock = threading.Lock()
        self.num_hits = 0
        self.num_misses = 0

    def get(self, key: Hashable, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of a key, computed by `make` on a miss. Callers must not modify them."""
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


_NETWORK_NUMBERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_NEXT_NUMBER = itertools.count()
_NUMBERS_LOCK = threading.Lock()


def network_key(network: Any) -> Hashable:
    """A cache key that changes when a network is exchanged, converted, moved or retrained.

    It holds the network's number, as the address of a network can be used again, and the address
    and version of each weight. Changes in place through `tensor.data` have no version.

    Args:
        network: a `torch.nn.Module`, or an exported network, whose weights never change.
    """
    with _NUMBERS_LOCK:
        if network not in _NETWORK_NUMBERS:
            _NETWORK_NUMBERS[network] = next(_NEXT_NUMBER)
        number = _NETWORK_NUMBERS[network]
    if not hasattr(network, "parameters"):
        return number
    weights = hash(tuple(_weight_key(weight) for weight in network.parameters()))
    first = next(network.parameters())
    return number, weights, first.device, first.dtype


def _weight_key(weight: Any) -> Hashable:
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version


def image_key(image: Image.Image) -> Hashable:
    """A cache key that is equal for images of equal mode, size and pixels."""
    return image.mode, image.size, hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _num_bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors)
