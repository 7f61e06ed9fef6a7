"""The commands together, and the one place that turns exceptions into a line and an exit code.

0    done
1    a defect of Riffusion's own; --debug shows where
2    what was asked for cannot be done; the line says what to change
130  interrupted (Ctrl-C)
"""

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

import riffusion
from riffusion.cli import (
    clips,
    dataset_build,
    dataset_encode,
    dataset_synthesize,
    evaluate,
    generate,
    interpolate,
    jam,
    predict,
    seed_images,
    serve,
    spectrograms,
    train,
)
from riffusion.cli.batch import BatchDefectError, BatchError, is_defect_of_ours
from riffusion.cli.option_names import message_by_option
from riffusion.errors import InputError, RiffusionError, ServerError

if TYPE_CHECKING:
    from typer._click.core import Command

EXIT_DEFECT = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
_DEBUG_HINT = "run `riffusion --debug …` for the traceback"


@dataclass
class GlobalOptions:
    """What stands before the command's name, and which command it is."""

    debug: bool = False
    command: "Command | None" = None


app = typer.Typer(
    name="riffusion",
    help="Text and images of sound in, music out.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help are brackets
    invoke_without_command=True,
)
app.command("generate")(generate.generate)
app.command("interpolate")(interpolate.interpolate)
app.command("jam")(jam.jam)
app.command("audio-to-image")(spectrograms.audio_to_image)
app.command("image-to-audio")(spectrograms.image_to_audio)
app.command("print-exif")(spectrograms.print_exif)
app.command("sample-clips")(clips.sample_clips)
app.command("sample-clips-batch")(clips.sample_clips_batch)
app.command("audio-to-images-batch")(spectrograms.audio_to_images_batch)
app.command("seed-image")(seed_images.seed_image)
app.command("serve")(serve.serve)
app.command("predict")(predict.predict)
dataset = typer.Typer(
    help="Make data sets of captioned spectrogram images.",
    rich_markup_mode=None,
    invoke_without_command=True,
)
dataset.command("build")(dataset_build.build)
dataset.command("synthesize")(dataset_synthesize.synthesize)
dataset.command("encode")(dataset_encode.encode)
app.add_typer(dataset, name="dataset")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)


def _print_version(value: bool) -> None:
    if value:
        print(f"riffusion {riffusion.__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="RIFFUSION_DEBUG", help="Show tracebacks and logs.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del version
    if isinstance(context.obj, GlobalOptions):
        context.obj.debug = debug
        _remember_command(context)
    if debug:
        logging.getLogger("riffusion").setLevel(logging.DEBUG)
    if context.invoked_subcommand is None:
        print(context.get_help())


@dataset.callback()
def _dataset_options(context: typer.Context) -> None:
    _remember_command(context)
    if context.invoked_subcommand is None:
        print(context.get_help())


def _remember_command(context: typer.Context) -> None:
    """Note which command was called, so that errors can name its options."""
    name = context.invoked_subcommand
    group = context.command
    if name and isinstance(context.obj, GlobalOptions) and isinstance(group, typer.core.TyperGroup):
        context.obj.command = group.get_command(context, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `riffusion` command; the exit code.

    Args:
        arguments: default `sys.argv`.
    """
    return run(app, arguments)


def run(application: typer.Typer, arguments: Sequence[str] | None, name: str = "riffusion") -> int:
    """Run a Typer application with errors in one line each; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # news in a pipe, too; × in any encoding
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
    handler = logging.StreamHandler()
    handler.setFormatter(_LineFormatter())
    logging.basicConfig(handlers=[handler])
    command = typer.main.get_command(application)
    options = GlobalOptions()
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False, obj=options)
    except (KeyboardInterrupt, typer.Abort):
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as in `riffusion … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DEFECT
    except Exception as error:
        if options.debug:
            traceback.print_exception(error)
        command = options.command or command
        if isinstance(error, BatchError):
            _list_failures(error, command, options.debug)
        line, status = _explained(error, command)
        print(f"error: {line}", file=sys.stderr)
        return status
    if status == EXIT_INTERRUPTED:
        print("error: interrupted", file=sys.stderr)
    return int(status or 0)


def _explained(error: Exception, command: "Command") -> tuple[str, int]:
    """The line for an exception of a command, and the exit code."""
    if isinstance(error, ServerError):
        return str(error), EXIT_REFUSED  # ends with the server's log, which has lines of its own
    if isinstance(error, InputError):
        return _one_line(message_by_option(error, command)), EXIT_REFUSED
    if isinstance(error, BatchDefectError):
        return f"{error}; {_DEBUG_HINT}", EXIT_DEFECT
    if isinstance(error, RiffusionError):
        return _one_line(str(error)), EXIT_REFUSED
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "riffusion"
        what = _one_line(error.format_message()).rstrip(".")
        return f"{what}; see `{path} --help`", EXIT_REFUSED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _one_line(f"{where}{error.strerror}"), EXIT_REFUSED
    what = _one_line(f"{type(error).__name__}: {error}")
    return f"unexpected {what[:400]}; {_DEBUG_HINT}", EXIT_DEFECT


def _list_failures(error: BatchError, command: "Command", debug: bool) -> None:
    for name, failure in error.failures.items():
        what = str(failure)
        if isinstance(failure, InputError):
            what = message_by_option(failure, command)
        elif is_defect_of_ours(failure):
            what = f"unexpected {type(failure).__name__}: {failure}"
            if debug:
                traceback.print_exception(failure)
        print(f"failed: {name}: {_one_line(what)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _LineFormatter(logging.Formatter):
    """`warning: …`; news without a prefix."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        is_news = record.levelno == logging.INFO
        return message if is_news else f"{record.levelname.lower()}: {message}"
