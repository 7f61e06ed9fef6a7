"""The walk, by the cases that the web app's walk is tested by, too."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.errors import InputError
from riffusion.generation.walk import SEED_LIMIT, End, Walk

CASES = json.loads((Path(__file__).parent / "walk_cases.json").read_text())
ALPHA_TOLERANCE = 1e-9
"""Sums of steps, which both languages round alike, against the decimals of the cases."""


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_shared_cases(case: dict[str, Any]) -> None:
    prompt, seed = case["start"]
    limit = case.get("seed_limit", SEED_LIMIT)
    walk = Walk.start(prompt, seed, tuple(case.get("queue", ())), limit)
    for clip in case["clips"]:
        for _ in range(clip.get("skip", 0)):
            _, walk = walk.step(case["alpha_step"])
        if "expect" not in clip:
            continue
        walk = walk.with_queue((*walk.queue, *clip.get("enqueue", ())))
        if "jump" in clip:
            walk = walk.jump(clip["jump"])
        stop, walk = walk.step(case["alpha_step"])
        start, end, alpha = clip["expect"]
        assert (stop.start, stop.end) == (End(*start), End(*end))
        assert stop.alpha == pytest.approx(
            alpha, abs=0 if clip.get("exact") else ALPHA_TOLERANCE, rel=0
        )
        if "queue" in clip:
            assert list(walk.queue) == clip["queue"]


@given(st.floats(min_value=1e-3, max_value=1, exclude_min=True), st.integers(1, 300))
def test_steps_add_up(alpha_step: float, num_clips: int) -> None:
    walk = Walk.start("bells", 0)
    for _ in range(num_clips):
        _, walk = walk.step(alpha_step)
        assert 0 <= walk.alpha < 1
    assert walk.current.seed + walk.alpha == pytest.approx(num_clips * alpha_step, abs=1e-6)


def test_seeds_stay_below_the_limit() -> None:
    stop, _ = Walk.start("bells", SEED_LIMIT - 1).step(1)
    assert stop.end.seed == 0


@pytest.mark.parametrize("alpha_step", [0, -0.25, 1.01, float("nan")])
def test_steps_out_of_range_are_refused(alpha_step: float) -> None:
    with pytest.raises(InputError, match="alpha_step"):
        Walk.start("bells", 0).step(alpha_step)
