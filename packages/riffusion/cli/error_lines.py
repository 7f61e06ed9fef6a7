"""The line that is printed for an exception of a command, and the command's exit code."""

from typing import TYPE_CHECKING

import typer

from riffusion.cli.folder_batch import BatchDefectError
from riffusion.cli.option_names import message_by_option
from riffusion.errors import InputError, RiffusionError, ServerError
from riffusion.io.bundle import how_to_add

if TYPE_CHECKING:
    from typer._click.core import Command

EXIT_DEFECT = 1
EXIT_REFUSED = 2
_DEBUG_HINT = "run `riffusion --debug …` for the traceback"


def line_and_status(error: Exception, command: "Command") -> tuple[str, int]:
    """The line to print for an exception of a command, and the exit code."""
    if isinstance(error, ServerError):
        return str(error), EXIT_REFUSED  # several lines: it ends with the server's log
    if isinstance(error, InputError):
        return one_line(message_by_option(error, command)), EXIT_REFUSED
    if isinstance(error, BatchDefectError):
        return f"{error}; {_DEBUG_HINT}", EXIT_DEFECT
    if isinstance(error, RiffusionError):
        return one_line(str(error)), EXIT_REFUSED
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "riffusion"
        what = one_line(error.format_message()).rstrip(".").replace(": Value error, ", ": ")
        return f"{what}; see `{path} --help`", EXIT_REFUSED
    if isinstance(error, ModuleNotFoundError) and error.name:  # an extra was not installed
        needs = f"the module {error.name} is not installed, and this command needs it"
        return one_line(f"{needs}; {how_to_add(error.name)}"), EXIT_REFUSED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return one_line(f"{where}{error.strerror}"), EXIT_REFUSED
    what = one_line(f"{type(error).__name__}: {error}")
    return f"unexpected {what[:400]}; {_DEBUG_HINT}", EXIT_DEFECT


def one_line(text: str) -> str:
    """One line of printable text: a file's name or an endpoint may hold terminal commands."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in " ".join(text.split())
    )
