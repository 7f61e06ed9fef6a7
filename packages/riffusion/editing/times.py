"""Points in time and durations as people write them: `90`, `90s`, `1:30`, `1:30.5`, `1:02:03`."""

import re

from riffusion.errors import InputError
from riffusion.loops.grid import short_repr

_TIME = re.compile(
    r"(?:(?:(?P<hours>\d{1,3}):)?(?P<minutes>\d{1,4}):)?(?P<seconds>\d{1,6}(?:\.\d{0,9})?|\.\d{1,9})"
    r"(?P<unit> ?s)?",
    re.ASCII | re.IGNORECASE,
)


def parse_time(text: str, field: str | None = None) -> float:
    """Seconds: `1:30.5` → 90.5.

    Args:
        text: seconds, with or without the unit `s`; or minutes and seconds; or hours, minutes and
            seconds. Seconds may have a fraction.
        field: the option or request field that holds the text, for the message.

    Raises:
        InputError: the text isn't a time.
    """
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise _error(text, "is not a time", field)
    hours, minutes, seconds = (float(match[name] or 0) for name in ("hours", "minutes", "seconds"))
    if match["minutes"] and match["unit"]:
        raise _error(text, "has both a colon and a unit", field)
    if match["minutes"] and seconds >= 60:
        raise _error(text, "has 60 seconds or more after the minutes", field)
    if match["hours"] and minutes >= 60:
        raise _error(text, "has 60 minutes or more after the hours", field)
    return 3600 * hours + 60 * minutes + seconds


def format_time(seconds: float) -> str:
    """The inverse, to a hundredth of a second: 90.5 → `1:30.50`; below a minute `5.12 s`."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest / 100:05.2f}"
    return f"{minutes}:{rest / 100:05.2f}" if minutes else f"{rest / 100:.2f} s"


def _error(text: object, why: str, field: str | None) -> InputError:
    return InputError(
        f"{short_repr(text)} {why}; write seconds or minutes:seconds, such as 90, 90s, 1:30 or "
        "1:30.5",
        field=field,
    )
