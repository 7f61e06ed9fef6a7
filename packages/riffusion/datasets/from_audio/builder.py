"""The whole build: checks options, runs the processes, resumes, writes metadata and card."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from riffusion.datasets.folder import SPLITS, claim_directory, sole_writer, write_metadata
from riffusion.datasets.from_audio.captions import Caption
from riffusion.datasets.from_audio.card import card_text
from riffusion.datasets.from_audio.final_splits import move_to_final_splits
from riffusion.datasets.from_audio.inputs import gather_inputs
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
    reassign_splits,
)
from riffusion.datasets.from_audio.worker import (
    build_in_process,
    build_on_node,
    build_source,
    prepare_on_node,
    prepare_process,
)
from riffusion.errors import InputError
from riffusion.io.files import write_file
from riffusion.runtime.cluster import RayCluster
from riffusion.runtime.processes import one_thread, process_pool
from riffusion.runtime.processors import num_usable_cpus

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
    cluster: RayCluster | None = None,
) -> BuildReport:
    """Build a data-set folder from recordings, or resume a build with the same options.

    Args:
        audio_dir: the folder of the recordings, which is also searched for metadata files.
        files: the recordings; metadata files among them are skipped.
        directory: the data-set folder; created if it doesn't exist.
        options: together with the recordings, they determine every byte of the data set.
        num_processes: default: one per CPU that this process may use.
        progress: called with (files done, files in all).
        cluster: where recordings are processed in place of this machine. All its nodes must have
            the recordings and the data-set folder at the same absolute paths.

    Returns:
        Counts and failures. A file that can't be used doesn't stop the build.

    Raises:
        InputError: there are no recordings, captions don't match, options contradict each other,
            the folder was started with other options or is in use by another run, no image is left,
            or something can't be written. Finished work is kept.
        RiffusionError: a worker process died, or the cluster can't be used.
    """
    if num_processes is not None and num_processes < 1:
        raise InputError(f"{num_processes} must be at least 1", field="processes")
    inputs = gather_inputs(audio_dir, files, directory, options)
    files = inputs.recordings
    chosen = files[: options.limit] if options.limit > 0 else files
    covered = f"{len(chosen)} files, {fingerprint(chosen, inputs.contents)}"
    claim_directory(directory, COMMAND, options.to_json(covered), options.slices.image.params)
    with sole_writer(directory):
        work = _Work(options.slices, num_processes, cluster)
        return _build(directory, files, inputs.captions, options, work, progress)


def _build(
    directory: Path,
    files: Sequence[AudioFile],
    captions: Mapping[str, Caption],
    options: BuildOptions,
    work: "_Work",
    progress: Progress | None,
) -> BuildReport:
    """Process the files without a record, then write metadata and card.

    If files can't be used, a limit is filled up with the files that follow in order.
    """
    _remove_unfinished_files(directory)
    limit = options.limit if options.limit > 0 else len(files)
    report = BuildReport()
    records: dict[int, Record] = {}
    sources: list[Source] = []
    missing = limit
    while missing > 0 and len(sources) < len(files):
        first, end = len(sources), min(len(sources) + missing, len(files))
        # Which split a source has is final only when all of them are known.
        sources = assign_splits(files[:end], options.validation_share, options.seed)
        jobs = []
        for source in sources[first:]:
            caption = captions.get(source.file.name)
            if caption is None and options.caption_source == "metadata":
                report.failures[source.file.name] = _no_caption()
                continue
            # `dataset.json` has a fingerprint of the files up to the limit.
            own = fingerprint([source.file], {}) if source.number >= limit else ""
            job = Job(source, caption, options.caption_source, directory, own)
            record = read_record(job)
            if record is None:
                jobs.append(job)
            else:
                records[source.number] = record
        done = end - len(jobs)
        for job, result in work.results(jobs):
            done += 1
            if progress is not None:
                progress(done, end)
            if isinstance(result, Record):
                records[job.source.number] = result
            else:
                report.failures[job.source.file.name] = result
        missing = limit - _num_counted(records, report)
    _remove_unfinished_files(directory)  # of workers that were killed
    _finish(directory, sources, records, report, options)
    return report


def _num_counted(records: Mapping[int, Record], report: BuildReport) -> int:
    """Number of recordings that count for the limit.

    Those are recordings with images, and those that lack a caption because of an option.
    """
    num_without_caption = sum(
        isinstance(failure, InputError) and failure.field == "caption_from"
        for failure in report.failures.values()
    )
    return sum(bool(record.rows) for record in records.values()) + num_without_caption


def _no_caption() -> InputError:
    return InputError(
        "no row of the captions has this file_name; add a row, or use auto", field="caption_from"
    )


def _remove_unfinished_files(directory: Path) -> None:
    """Delete temporary files that a killed run left outside the folders of single sources."""
    for folder in (directory, directory / RECORDS, *(directory / split for split in SPLITS)):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


class _Work:
    """Where sources are processed: in this process, in a pool of them, or on a cluster.

    Args:
        options: how recordings are cut.
        num_processes: number of processes; None for one per CPU. A cluster has its own.
        cluster: a cluster, or None for this machine.
    """

    def __init__(
        self, options: SliceOptions, num_processes: int | None, cluster: RayCluster | None
    ) -> None:
        self.options, self.num_processes, self.cluster = options, num_processes, cluster

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record | Exception]]:
        """Yield each job when it is done, with its record or why its file can't be used."""
        if not jobs:
            return
        workers = min(self.num_processes or num_usable_cpus(), len(jobs))
        # Start with the largest files, so that no process is still busy with one at the end.
        largest_first = sorted(jobs, key=lambda job: -job.source.file.path.stat().st_size)
        if self.cluster is not None:
            yield from self._on_cluster(self.cluster, largest_first)
        elif workers > 1:
            yield from self._in_processes(workers, largest_first)
        else:
            yield from self._in_this_process(jobs)

    def _on_cluster(
        self, cluster: RayCluster, jobs: Sequence[Job]
    ) -> Iterator[tuple[Job, Record | Exception]]:
        directory = jobs[0].directory.resolve()
        moved = [_with_absolute_paths(job, directory) for job in jobs]
        arguments = (self.options, directory)
        for number, result in cluster.results(prepare_on_node, arguments, build_on_node, moved):
            if isinstance(result, OutputError):
                raise result
            if isinstance(result, Record) and read_record(jobs[number]) is None:
                raise OutputError(
                    f"output={str(directory)!r} lacks what a node of the cluster wrote there; "
                    "choose a folder that all nodes share"
                )
            yield jobs[number], result

    def _in_processes(
        self, workers: int, jobs: Sequence[Job]
    ) -> Iterator[tuple[Job, Record | Exception]]:
        with process_pool(workers, prepare_process, (self.options,)) as pool:
            futures = {pool.submit(build_in_process, job): job for job in jobs}
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except (BrokenProcessPool, OutputError):
                    raise
                except Exception as error:
                    yield futures[future], error

    def _in_this_process(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record | Exception]]:
        from riffusion.datasets.from_audio.images import ImageMaker

        maker = ImageMaker(self.options)
        with one_thread():
            for job in jobs:
                try:
                    yield job, build_source(job, maker)
                except OutputError:
                    raise
                except Exception as error:
                    yield job, error


def _with_absolute_paths(job: Job, directory: Path) -> Job:
    """The job for another process, whose working directory is another one."""
    file = replace(job.source.file, path=job.source.file.path.resolve())
    return replace(job, source=replace(job.source, file=file), directory=directory)


def _finish(
    directory: Path,
    sources: Sequence[Source],
    records: Mapping[int, Record],
    report: BuildReport,
    options: BuildOptions,
) -> None:
    """Fill in the report's counts, and write metadata and card."""
    num_without_caption = 0
    for source in sources:
        record = records.get(source.number, Record())
        report.left_out.update(record.left_out)
        for message in record.warnings:
            logger.warning("%s: %s", source.file.name, message)
        num_without_caption += any(not row.text for row in record.rows[:1])
    if num_without_caption:
        logger.warning("%d files have no caption; their text is empty", num_without_caption)
    usable = [source for source in sources if source.number in records]
    usable = [source for source in usable if records[source.number].rows]
    if not usable:
        if report.failures:
            return  # the failures say why
        raise InputError(_why_empty(report))
    if options.validation_share > 0 and len(usable) == 1 < len(sources):
        logger.warning(
            "only %s can be used, so no recording is left for validation", usable[0].file.name
        )
    usable = reassign_splits(usable, options.validation_share, options.seed)
    move_to_final_splits(directory, usable)
    for split in SPLITS:
        of_split = [records[source.number] for source in usable if source.split == split]
        rows = [row for record in of_split for row in record.rows]
        if rows:
            report.num_images[split] = len(rows)
            report.num_files[split] = len(of_split)
            write_metadata(directory, split, rows)
    write_file(card_text(options, report).encode(), directory / "README.md")


def _why_empty(report: BuildReport) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.left_out.items()))
    return (
        f"no image is left ({reasons}); use shorter slices or longer recordings, or change "
        "silence_db and max_clipping"
    )
