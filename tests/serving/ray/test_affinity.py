"""Which requests go to the same replica, and to which."""

from collections import Counter

import pytest

from riffusion.datatypes import LoraInput
from riffusion.serving.ray.affinity import lora_group, preferred_replica

BELLS = LoraInput(id="bells", weight=0.5)
CHOIR = LoraInput(id="choir")
GROUPS = [f"group {number}" for number in range(3000)]


@pytest.mark.parametrize("loras", [[], [LoraInput(id="bells", weight=0)]])
def test_requests_without_loras_have_no_group(loras: list[LoraInput]) -> None:
    assert lora_group(loras) == ""


def test_order_and_unused_loras_do_not_count() -> None:
    group = lora_group([BELLS, CHOIR])
    assert group == lora_group([CHOIR, BELLS])
    assert group == lora_group([CHOIR, LoraInput(id="organ", weight=0), BELLS])


def test_other_loras_and_other_weights_are_other_groups() -> None:
    stacks = [[BELLS], [CHOIR], [BELLS, CHOIR], [LoraInput(id="bells", weight=0.25)]]
    assert len({lora_group(loras) for loras in stacks}) == len(stacks)


def test_groups_are_even_over_the_replicas_whatever_their_order() -> None:
    chosen = [preferred_replica(group, ["a", "b", "c"]) for group in GROUPS]
    assert chosen == [preferred_replica(group, ["c", "a", "b"]) for group in GROUPS]
    assert all(900 < count < 1100 for count in Counter(chosen).values())  # 1000 on average


def test_only_the_groups_of_a_lost_replica_move() -> None:
    for group in GROUPS:
        before = preferred_replica(group, ["a", "b", "c"])
        after = preferred_replica(group, ["a", "b"])
        assert after == before or before == "c"
