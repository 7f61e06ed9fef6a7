"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riffusion.editing.times import format_time, parse_time
from riffusion.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("90 s", 90.0),
        ("0", 0.0),
        ("12.3", 12.3),
        (".5", 0.5),
        ("1:30", 90.0),
        ("1:30.5", 90.5),
        ("0:05", 5.0),
        ("01:02:03.25", 3723.25),
        ("90:00", 5400.0),
        (" 1:30 ", 90.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "-1", "1:60", "1:2:3:4", "1:75:00", "1,5", "1:30s", "nan", "inf", "1e3", "30 min",
     "٣", "1:-5", ":30", "1:", "0x10", "9" * 400],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"such as 90, 90s, 1:30 or 1:30\.5") as caught:
        parse_time(text, "from")
    assert str(caught.value).startswith("from: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@given(st.integers(0, 360_000 * 100 - 1))
def test_written_times_are_read_back(hundredths: int) -> None:
    text = format_time(hundredths / 100)
    assert parse_time(text) == pytest.approx(hundredths / 100, abs=1e-6)
