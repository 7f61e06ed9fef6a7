"""The syntax of weights in prompts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.diffusion.prompt_weights import parse_prompt_weights
from riffusion.errors import InputError


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1.0)]),
        ("plain words", [("plain words", 1.0)]),
        ("a (loud) bell", [("a ", 1.0), ("loud", 1.1), (" bell", 1.0)]),
        ("((loud))", [("loud", 1.1**2)]),
        ("[soft] bell", [("soft", 1 / 1.1), (" bell", 1.0)]),
        ("(rock:1.4) guitar", [("rock", 1.4), (" guitar", 1.0)]),
        ("(rock:-.5)", [("rock", -0.5)]),
        ("(rock:0)", [("rock", 0.0)]),
        ("(piano: 1.5)", [("piano", 1.5)]),
        ("(piano:1.5 )", [("piano", 1.5)]),
        ("(piano: \t-1.5  ) bell", [("piano", -1.5), (" bell", 1.0)]),
        ("(piano:1.)", [("piano", 1.0)]),
        ("(piano:2. )", [("piano", 2.0)]),
        ("(piano:.)", [("piano:.", 1.1)]),
        ("(piano: )", [("piano: ", 1.1)]),
        ("(jazz (piano:2))", [("jazz ", 1.1), ("piano", 2.2)]),
        ("[(a:2)b]", [("a", 2 / 1.1), ("b", 1 / 1.1)]),
        ("(open", [("open", 1.1)]),
        ("[open", [("open", 1 / 1.1)]),
        ("closed) again]", [("closed) again]", 1.0)]),
        (r"\(literal\) \[brackets\] \\", [("(literal) [brackets] \\", 1.0)]),
        ("time 4:4", [("time 4:4", 1.0)]),
        ("a :1.5) b", [("a :1.5) b", 1.0)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:loud)", [("a:loud", 1.1)]),
        ("()", [("", 1.0)]),
        ("back\\slash", [("back\\slash", 1.0)]),
    ],
)
def test_known_prompts(prompt: str, expected: list[tuple[str, float]]) -> None:
    actual = parse_prompt_weights(prompt)
    assert [text for text, _ in actual] == [text for text, _ in expected]
    assert [weight for _, weight in actual] == pytest.approx([weight for _, weight in expected])


@given(st.text(alphabet="ab ()[]:\\.0129", max_size=60))
def test_any_text_parses_to_finite_weights_and_loses_no_letter(prompt: str) -> None:
    try:
        stretches = parse_prompt_weights(prompt)
    except InputError as error:
        assert "prompt weight" in str(error)
        return
    assert all(math.isfinite(weight) for _, weight in stretches)
    letters = "".join(text for text, _ in stretches)
    assert [c for c in letters if c in "ab"] == [c for c in prompt if c in "ab"]


@pytest.mark.parametrize("prompt", ["(a:1000)", "(a:" + "9" * 400 + ")", "(" * 100 + "a"])
def test_extreme_weight_is_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="prompt weight"):
        parse_prompt_weights(prompt)
