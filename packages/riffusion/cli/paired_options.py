"""Options that take a time and a text, and may be given several times.

Typer has no lists of pairs. So the option is a list of `TimedText` with a parser, and the command's
class tells the command line that each takes two values.
"""

from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

_METAVAR = "<time> <str>"


class TimedText(NamedTuple):
    """A time and a text, as they were typed."""

    time: str
    text: str


class CommandWithPairs(TyperCommand):
    """A command with such options."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            if parameter.metavar == _METAVAR:
                parameter.nargs = 2


PromptsAt = Annotated[
    list[TimedText],
    typer.Option(
        metavar=_METAVAR,
        parser=lambda pair: TimedText(*pair),
        show_default=False,
        help='A text to arrive at by a time, such as `--prompt-at 1:30 "jazz trio"`; may be given '
        "several times.",
    ),
]
