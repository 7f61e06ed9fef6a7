"""The whole build: checks options, runs the processes, resumes, writes metadata and card."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from riffusion.datasets.folder import SPLITS, claim_directory, sole_writer, write_metadata
from riffusion.datasets.from_audio.captions import (
    METADATA_NAMES,
    Caption,
    MetadataFile,
    find_metadata,
    match_captions,
    read_metadata_file,
)
from riffusion.datasets.from_audio.card import card_text
from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
from riffusion.datasets.from_audio.records import (
    RECORDS,
    Job,
    OutputError,
    Record,
    read_record,
)
from riffusion.datasets.from_audio.report import BuildReport
from riffusion.datasets.from_audio.sources import (
    AudioFile,
    Source,
    assign_splits,
    fingerprint,
)
from riffusion.datasets.from_audio.worker import build_in_process, build_source, prepare_process
from riffusion.errors import InputError
from riffusion.io.files import write_file
from riffusion.runtime.processes import one_torch_thread, process_pool

logger = logging.getLogger(__name__)

COMMAND = "dataset build"

Progress = Callable[[int, int], None]


def build_dataset(
    audio_dir: Path,
    files: Sequence[AudioFile],
    directory: Path,
    options: BuildOptions,
    num_processes: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a data-set folder from recordings, or resume a build with the same options.

    Args:
        audio_dir: the folder of the recordings, which is also searched for metadata files.
        files: the recordings; metadata files among them are skipped.
        directory: the data-set folder; created if it doesn't exist.
        options: together with the recordings, they determine every byte of the data set.
        num_processes: default: one per CPU.
        progress: called with (files done, files in all).

    Returns:
        Counts and failures. A file that can't be used doesn't stop the build.

    Raises:
        InputError: there are no recordings, captions don't match, options contradict each other,
            the folder was started with other options or is in use by another run, no image is left,
            or something can't be written. Finished work is kept.
        RiffusionError: a worker process died.
    """
    if num_processes is not None and num_processes < 1:
        raise InputError(f"{num_processes} must be at least 1", field="processes")
    metadata = _metadata_files(audio_dir, directory, options)
    files = _recordings(audio_dir, files, options)
    captions, unmatched = match_captions(metadata, [file.name for file in files])
    if unmatched:
        logger.warning(
            "%d rows of the captions match no file, for instance file_name=%r",
            len(unmatched),
            unmatched[0],
        )
    chosen = files[: options.limit] if options.limit > 0 else files
    inputs = f"{len(chosen)} files, "
    inputs += fingerprint(chosen, {file.name: file.content for file in metadata})
    params = options.slices.image.params
    claim_directory(directory, COMMAND, options.to_json(inputs), params)
    sources = assign_splits(chosen, options.validation_share, options.seed)
    with sole_writer(directory):
        return _build(directory, sources, captions, options, num_processes, progress)


def _build(
    directory: Path,
    sources: Sequence[Source],
    captions: Mapping[str, Caption],
    options: BuildOptions,
    num_processes: int | None,
    progress: Progress | None,
) -> BuildReport:
    """Process the files without a record, then write metadata and card."""
    _remove_unfinished_files(directory)
    report = BuildReport()
    records: dict[Source, Record] = {}
    jobs = []
    for source in sources:
        caption = captions.get(source.file.name)
        if caption is None and options.caption_source == "metadata":
            report.failures[source.file.name] = _no_caption()
        elif (record := read_record(directory, source)) is not None:
            records[source] = record
        else:
            jobs.append(Job(source, caption, options.caption_source, directory))
    done = len(sources) - len(jobs)
    for job, result in _results(jobs, options.slices, num_processes):
        done += 1
        if progress is not None:
            progress(done, len(sources))
        if isinstance(result, Record):
            records[job.source] = result
        else:
            report.failures[job.source.file.name] = result
    _finish(
        directory, [source for source in sources if source in records], records, report, options
    )
    return report


def _metadata_files(audio_dir: Path, directory: Path, options: BuildOptions) -> list[MetadataFile]:
    if options.captions is not None:
        return [read_metadata_file(options.captions)]
    if options.caption_source in ("tags", "names"):
        return []
    found = find_metadata(audio_dir, directory)
    if not found and options.caption_source == "metadata":
        raise InputError(
            f"{str(audio_dir)!r} has no {' or '.join(METADATA_NAMES)}; add one with the columns "
            "file_name and text, or name another file",
            field="captions",
        )
    return found


def _recordings(
    audio_dir: Path, files: Sequence[AudioFile], options: BuildOptions
) -> list[AudioFile]:
    """The audio files: `files` without the metadata files."""
    captions = None if options.captions is None else options.captions.resolve()
    recordings = [
        file
        for file in files
        if file.path.name not in METADATA_NAMES and file.path.resolve() != captions
    ]
    if not recordings:
        raise InputError(
            f"{str(audio_dir)!r} has no audio file; name a folder with recordings",
            field="audio_dir",
        )
    return recordings


def _no_caption() -> InputError:
    return InputError(
        "no row of the captions has this file_name; add a row, or use auto", field="caption_from"
    )


def _remove_unfinished_files(directory: Path) -> None:
    """Delete temporary files that a killed run left outside the folders of single sources."""
    for folder in (directory, directory / RECORDS, *(directory / split for split in SPLITS)):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def _results(
    jobs: Sequence[Job], options: SliceOptions, num_processes: int | None
) -> Iterator[tuple[Job, Record | Exception]]:
    """Yield each job when it is done, with its record or the reason why its file can't be used."""
    workers = min(num_processes or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from _results_in_this_process(jobs, options)
        return
    # Start with the largest files, so that no process is still busy with one at the end.
    jobs = sorted(jobs, key=lambda job: -job.source.file.path.stat().st_size)
    with process_pool(workers, prepare_process, (options,)) as pool:
        futures = {pool.submit(build_in_process, job): job for job in jobs}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except (BrokenProcessPool, OutputError):
                raise
            except Exception as error:
                yield futures[future], error


def _results_in_this_process(
    jobs: Sequence[Job], options: SliceOptions
) -> Iterator[tuple[Job, Record | Exception]]:
    if not jobs:
        return
    from riffusion.datasets.from_audio.images import ImageMaker

    maker = ImageMaker(options)
    with one_torch_thread():
        for job in jobs:
            try:
                yield job, build_source(job, maker)
            except OutputError:
                raise
            except Exception as error:
                yield job, error


def _finish(
    directory: Path,
    sources: Sequence[Source],
    records: Mapping[Source, Record],
    report: BuildReport,
    options: BuildOptions,
) -> None:
    """Fill in the report's counts, and write metadata and card."""
    num_without_caption = 0
    for source in sources:
        record = records[source]
        report.left_out.update(record.left_out)
        for message in record.warnings:
            logger.warning("%s: %s", source.file.name, message)
        if record.rows:
            report.num_images[source.split] += len(record.rows)
            report.num_files[source.split] += 1
            num_without_caption += not record.rows[0].text
    if num_without_caption:
        logger.warning("%d files have no caption; their text is empty", num_without_caption)
    if not report.num_images["train"]:
        if report.failures and not report.num_images:
            return  # the failures say why
        for name, failure in report.failures.items():
            logger.warning("%s: %s", name, failure)
        raise InputError(_why_empty(report))
    for split in SPLITS:
        rows = [row for source in sources if source.split == split for row in records[source].rows]
        if rows:
            write_metadata(directory, split, rows)
    write_file(card_text(options, report).encode(), directory / "README.md")


def _why_empty(report: BuildReport) -> str:
    if report.num_images:
        return (
            f"all {report.num_images['validation']} images are in the validation split; lower "
            "validation_share, or use another seed"
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.left_out.items()))
    return (
        f"no image is left ({reasons}); use shorter slices or longer recordings, or change "
        "silence_db and max_clipping"
    )
