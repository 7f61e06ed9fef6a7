"""Jams: the walk's stops, evenly spaced prompts, and the number of clips."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from riffusion.errors import InputError
from riffusion.generation.jam import Jam
from riffusion.generation.walk import End

CASES = json.loads((Path(__file__).parent / "walk_cases.json").read_text())
ALPHA_TOLERANCE = 1e-9
"""Between sums of steps and the decimals in the cases."""


def is_jam(case: dict[str, Any]) -> bool:
    """Whether a case has no user actions during the walk, so that a jam can follow it."""
    actions = {"enqueue", "jump"}
    return "seed_limit" not in case and not any(actions & clip.keys() for clip in case["clips"])


JAM_CASES = [case for case in CASES if is_jam(case)]


@pytest.mark.parametrize("case", JAM_CASES, ids=[case["name"] for case in JAM_CASES])
def test_a_jam_follows_the_same_walk_as_the_web_app(case: dict[str, Any]) -> None:
    prompt, seed = case["start"]
    queue = case.get("queue", [])
    num_clips = sum(1 + clip.get("skip", 0) - ("expect" not in clip) for clip in case["clips"])
    if queue:  # one stretch per prompt
        num_clips = math.ceil((1 + len(queue)) / case["alpha_step"])
    jam = Jam((prompt, *queue), seed, case["alpha_step"])
    stops = jam.stops(num_clips)
    for clip in case["clips"]:
        for _ in range(clip.get("skip", 0)):
            next(stops)
        if "expect" not in clip:
            continue
        stop = next(stops)
        start, end, alpha = clip["expect"]
        assert (stop.start, stop.end) == (End(*start), End(*end))
        assert stop.alpha == pytest.approx(alpha, abs=ALPHA_TOLERANCE, rel=0)


def test_at_least_five_cases_are_jams() -> None:
    assert len(JAM_CASES) >= 5


@given(
    st.integers(1, 6),
    st.integers(1, 400),
    st.one_of(st.sampled_from([1.0, 0.5, 0.25, 0.1, 0.75]), st.floats(0.05, 1.0)),
)
def test_prompts_are_spaced_evenly(num_prompts: int, num_clips: int, alpha_step: float) -> None:
    num_ends = num_clips * alpha_step
    assume(num_clips >= math.ceil(num_prompts / alpha_step))
    prompts = tuple(f"prompt {index}" for index in range(num_prompts))
    stops = list(Jam(prompts, 7, alpha_step).stops(num_clips))
    assert len(stops) == num_clips
    reached = list(dict.fromkeys(stop.start.prompt for stop in stops))
    assert reached == list(prompts[: len(reached)])
    assert stops[-1].end.prompt == prompts[-1]
    for index, prompt in enumerate(prompts):
        seeds = [
            end.seed for stop in stops for end in (stop.start, stop.end) if end.prompt == prompt
        ]
        due = index * num_ends / num_prompts
        assert abs(min(seeds) - 7 - due) <= 0.5 + 1e-6
    for before, after in pairwise(stops):
        step = after.start.seed + after.alpha - before.start.seed - before.alpha
        assert step == pytest.approx(alpha_step, abs=1e-6)


@pytest.mark.parametrize(
    ("minutes", "clip_s", "num_clips"),
    [(1, 5.12, 12), (5.12 / 60, 5.12, 1), (0.001, 5.12, 1), (2 * 5.12 / 60, 5.12, 2), (60, 5, 720)],
)
def test_minutes_are_rounded_up_to_whole_clips(
    minutes: float, clip_s: float, num_clips: int
) -> None:
    assert Jam(("bells",), 0, 0.25, minutes).num_clips(clip_s) == num_clips


def test_a_jam_too_short_for_its_prompts_is_refused_with_the_length_needed() -> None:
    prompts = ("bells", "piano", "techno", "organ")
    with pytest.raises(InputError, match=r"16 clips of 5.12 s .* give 1.37 or more") as error:
        Jam(prompts, 0, 0.25, 1).num_clips(5.12)
    assert error.value.field == "minutes"
    assert Jam(prompts, 0, 0.25, 1.37).num_clips(5.12) == 17


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("prompt", {"prompts": ()}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**63}),
        ("alpha_step", {"alpha_step": 0.0}),
        ("alpha_step", {"alpha_step": 1.5}),
        ("alpha_step", {"alpha_step": math.nan}),
        ("minutes", {"minutes": 0.0}),
        ("minutes", {"minutes": -1.0}),
        ("minutes", {"minutes": math.inf}),
        ("minutes", {"minutes": math.nan}),
    ],
)
def test_values_out_of_range_are_named(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InputError) as error:
        Jam(**{"prompts": ("bells",), "seed": 0, **values})
    assert error.value.field == field
