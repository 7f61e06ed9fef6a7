"""Processes one source, in a process pool or on a cluster: its images, then its record.

Modules that are slow to import are imported in the worker processes only, not in the parent.
"""

import contextlib
import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from riffusion.datasets.folder import INFO_NAME, SPLITS, DatasetRow
from riffusion.datasets.from_audio.captions import Caption, caption_from_name, one_line
from riffusion.datasets.from_audio.options import SliceOptions
from riffusion.datasets.from_audio.records import (
    Job,
    OutputError,
    Record,
    output_errors,
    record_path,
)
from riffusion.errors import InputError
from riffusion.io.files import write_file

if TYPE_CHECKING:
    from riffusion.datasets.from_audio.images import ImageMaker

_maker: "ImageMaker | None" = None


def prepare_process(options: SliceOptions) -> None:
    """Initialise a worker process for `build_in_process`."""
    global _maker
    from riffusion.datasets.from_audio.images import ImageMaker

    _maker = ImageMaker(options)


def build_in_process(job: Job) -> Record:
    """Run `build_source` in a process that `prepare_process` initialised."""
    if _maker is None:
        raise RuntimeError("the process was not initialised by prepare_process")
    return build_source(job, _maker)


def prepare_on_node(options: SliceOptions, directory: Path) -> "ImageMaker":
    """Initialise a worker of a cluster for `build_on_node`.

    Raises:
        OutputError: the data set isn't on a file system that this node shares.
    """
    from riffusion.datasets.from_audio.images import ImageMaker

    if not (directory / INFO_NAME).is_file():
        raise OutputError(
            f"output={str(directory)!r} is not on node {socket.gethostname()!r}; choose a folder "
            "that all nodes share"
        )
    return ImageMaker(options)


def build_on_node(maker: "ImageMaker", job: Job) -> Record:
    """Run `build_source` on a node of a cluster. It may run again after a node was lost."""
    return build_source(job, maker)


def build_source(job: Job, maker: "ImageMaker") -> Record:
    """Write a source's images and its record.

    Raises:
        OutputError: the data set can't be written.
        InputError: the recording can't be used.
    """
    from riffusion.audio import read_audio

    source = job.source
    for split in SPLITS:  # delete what a killed run left behind
        shutil.rmtree(job.directory / split / source.folder, ignore_errors=True)
    rows = []
    with _collected_warnings() as warnings:
        segment = read_audio(source.file.path)
        caption = _caption(job)
        for number, image in enumerate(maker.images(segment)):
            name = f"{source.folder}/{number:04d}.png"
            path = job.directory / source.split / name
            with output_errors():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(image.png, path)
            start_s = image.slice.start / maker.params.sample_rate
            extras: dict[str, str | float] = {"start_s": round(start_s, 3)}
            if image.slice.tempo_bpm is not None:
                extras["tempo_bpm"] = image.slice.tempo_bpm
            rows.append(_row(name, one_line(source.file.name), caption, extras))
    left_out = {str(reason): count for reason, count in sorted(maker.left_out.items())}
    if not rows and not left_out:
        left_out = {"too short": 1}
    record = Record(tuple(rows), left_out, tuple(warnings), job.fingerprint)
    with output_errors():
        path = record_path(job.directory, source)
        path.parent.mkdir(exist_ok=True)
        write_file(record.to_json().encode(), path)
    return record


def _caption(job: Job) -> Caption:
    """The recording's caption; empty if `auto` finds none.

    Raises:
        InputError: the chosen caption source has none for this recording.
    """
    if job.caption is not None:
        return job.caption
    caption = None
    if job.caption_source in ("auto", "tags"):
        from riffusion.datasets.from_audio.tags import caption_from_tags

        caption = caption_from_tags(job.source.file.path)
    if caption is None and job.caption_source in ("auto", "names"):
        caption = caption_from_name(job.source.file.name)
    if caption is None and job.caption_source != "auto":
        missing = {
            "sidecars": "no text file beside it has its name and a caption",
            "tags": "neither title nor genre is tagged",
            "names": "the file name contains no word",
        }
        raise InputError(
            f"{missing[job.caption_source]}; change that, or use auto", field="caption_from"
        )
    return caption or Caption("")


def _row(name: str, source: str, caption: Caption, extras: dict[str, str | float]) -> DatasetRow:
    return DatasetRow(
        file_name=name,
        text=caption.text,
        captions=(caption.text, *caption.alternatives),
        label=caption.label,
        kind=caption.kind,
        source=source,
        extras=extras,
    )


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect the decoder's warnings, which don't name the file, instead of logging them."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("riffusion.audio")
    handler, propagates = Collector(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
