"""All commands in one application, and the one place that turns exceptions into exit codes.

An exception becomes one line on stderr and one of these exit codes:

    0    done
    1    a defect in Riffusion; --debug shows the traceback
    2    the request can't be fulfilled; the line says what to change
    130  interrupted (Ctrl-C)
"""

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

import riffusion
from riffusion.cli import (
    batch,
    between,
    clips,
    dataset_build,
    dataset_encode,
    dataset_shard,
    dataset_synthesize,
    difference,
    evaluate,
    export,
    extend,
    follow,
    generate,
    interpolate,
    jam,
    loop,
    predict,
    repaint,
    restyle,
    retime,
    seed_images,
    serve,
    spectrograms,
    stems,
    train,
    unconditional,
    vary,
)
from riffusion.cli.error_lines import EXIT_DEFECT, line_and_status, one_line
from riffusion.cli.folder_batch import BatchError, is_own_defect, item_in_work
from riffusion.cli.option_names import message_by_option
from riffusion.cli.paired_options import CommandWithPairs
from riffusion.cli.ray_option import RayCommand
from riffusion.errors import InputError
from riffusion.runtime.user_name import ensure_user_name

if TYPE_CHECKING:
    from typer._click.core import Command

EXIT_INTERRUPTED = 130


@dataclass
class GlobalOptions:
    """The options before the command's name, and the command itself."""

    debug: bool = False
    command: "Command | None" = None


app = typer.Typer(
    name="riffusion",
    help="Make music from text and from spectrogram images.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # so that [word] in a help text is shown as it is
    invoke_without_command=True,
)
app.command("generate")(generate.generate)
app.command("interpolate")(interpolate.interpolate)
app.command("jam")(jam.jam)
app.command("restyle", cls=CommandWithPairs)(restyle.restyle)
app.command("repaint")(repaint.repaint)
app.command("extend")(extend.extend)
app.command("between")(between.between)
app.command("vary")(vary.vary)
app.command("difference")(difference.difference)
app.command("follow")(follow.follow)
app.command("stems")(stems.stems)
app.command("remix")(stems.remix)
app.command("loop")(loop.loop)
app.command("retime")(retime.retime)
app.command("batch")(batch.batch)
app.command("unconditional")(unconditional.unconditional)
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
    help="Make data sets for training.",
    rich_markup_mode=None,
    invoke_without_command=True,
)
dataset.command("build", cls=RayCommand)(dataset_build.build)
dataset.command("synthesize", cls=RayCommand)(dataset_synthesize.synthesize)
dataset.command("encode")(dataset_encode.encode)
dataset.command("shard")(dataset_shard.shard)
app.add_typer(dataset, name="dataset")
app.command("train")(train.train)
app.command("distill")(train.distill)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)


def _print_version(value: bool) -> None:
    if value:
        print(f"riffusion {riffusion.__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="RIFFUSION_DEBUG", help="Show tracebacks and log messages."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version
    if isinstance(context.obj, GlobalOptions):
        context.obj.debug = debug
        _store_command(context)
    if debug:
        logging.getLogger("riffusion").setLevel(logging.DEBUG)
    if context.invoked_subcommand is None:
        print(context.get_help())


@dataset.callback()
def _dataset_options(context: typer.Context) -> None:
    _store_command(context)
    if context.invoked_subcommand is None:
        print(context.get_help())


def _store_command(context: typer.Context) -> None:
    """Store which command was called, so that errors can name its options."""
    name = context.invoked_subcommand
    group = context.command
    if name and isinstance(context.obj, GlobalOptions) and isinstance(group, typer.core.TyperGroup):
        context.obj.command = group.get_command(context, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `riffusion` command and return its exit code.

    Args:
        arguments: the command line without the program's name; default: from `sys.argv`.
    """
    return run(app, arguments)


def run(application: typer.Typer, arguments: Sequence[str] | None, name: str = "riffusion") -> int:
    """Run a Typer application, print its errors in one line each, and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # for pipes, and for encodings without ×
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
    handler = logging.StreamHandler()
    handler.setFormatter(_LineFormatter())
    logging.basicConfig(handlers=[handler])
    # About damaged EXIF, which `riffusion.io.images` tells in one line.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    ensure_user_name()
    command = typer.main.get_command(application)
    options = GlobalOptions()
    try:
        status = command.main(arguments, prog_name=name, standalone_mode=False, obj=options)
    except (KeyboardInterrupt, typer.Abort):
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as in `riffusion … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DEFECT
    except Exception as error:
        if options.debug:
            traceback.print_exception(error)
        command = options.command or command
        if isinstance(error, BatchError):
            _list_failures(error, command, options.debug)
        line, status = line_and_status(error, command)
        print(f"error: {line}", file=sys.stderr)
        return status
    if status == EXIT_INTERRUPTED:
        print("error: interrupted", file=sys.stderr)
    return int(status or 0)


def _list_failures(error: BatchError, command: "Command", debug: bool) -> None:
    for name, failure in error.failures.items():
        what = str(failure)
        if isinstance(failure, InputError):
            what = message_by_option(failure, command)
        elif is_own_defect(failure):
            what = f"unexpected {type(failure).__name__}: {failure}"
            if debug:
                traceback.print_exception(failure)
        print(f"failed: {name}: {one_line(what)}", file=sys.stderr)


class _LineFormatter(logging.Formatter):
    """Log lines such as `warning: …`; messages of level INFO have no prefix.

    In a batch, messages begin with the name of the file that they are about.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        name = item_in_work.get()
        if name:
            message = f"{name}: {message}"
        has_prefix = record.levelno != logging.INFO
        return f"{record.levelname.lower()}: {message}" if has_prefix else message
