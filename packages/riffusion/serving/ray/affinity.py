"""Requests with the same LoRAs go to the same replica: its name follows from theirs.

There they share UNet calls, and their merged weights are made once, not once per replica. Prompts
and seed images gain nothing measurable by it; docs/ray.md has the figures.
"""

import hashlib
from collections.abc import Iterable, Sequence

from riffusion.datatypes import LoraInput


def lora_group(loras: Sequence[LoraInput]) -> str:
    """What requests that can share UNet calls have in common; empty without LoRAs.

    Equal for the same LoRAs at the same weights, in any order; a weight of 0 is as if left out.
    """
    used = sorted((lora.id, lora.weight) for lora in loras if lora.weight != 0)
    return repr(used) if used else ""


def preferred_replica(group: str, replicas: Iterable[str]) -> str:
    """The replica for a group, by rendezvous hashing (Thaler and Ravishankar 1998).

    Every ingress chooses the same one without asking another. If a replica is added or removed,
    only the groups that it gets or had change theirs.

    Args:
        group: by `lora_group`.
        replicas: names, at least one.
    """
    return max(replicas, key=lambda name: hashlib.blake2b(f"{group} {name}".encode()).digest())
