"""The same work for every audio file in a folder, in threads, with failures reported at the end."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from riffusion.cli.audio_files import list_audio_files
from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError, RiffusionError
from riffusion.io.files import short_name
from riffusion.runtime.processors import num_usable_cpus

item_in_work: ContextVar[str] = ContextVar("item_in_work", default="")
"""Name of the file that this thread works on, for the warnings about it."""


class BatchError(RiffusionError):
    """Some files or jobs of a batch failed; the others are done.

    Args:
        failures: the exception of each failed one, by name.
        num_items: number of files or jobs in the batch, failed or not.
        noun: what they are, in the plural.
    """

    def __init__(
        self, failures: Mapping[str, Exception], num_items: int, noun: str = "files"
    ) -> None:
        self.failures = failures
        super().__init__(f"{len(failures)} of {num_items} {noun} failed; the others are done")


class BatchDefectError(BatchError):
    """Some files or jobs of a batch failed, at least one because of a defect in Riffusion."""


@dataclass(frozen=True)
class BatchItem:
    """One input file of a batch.

    Args:
        path: the file.
        name: its path relative to the input folder, with `/` as separator.
        stem: path of its outputs relative to the output folder, without extension; unique within
            the batch, also on file systems that ignore case.
    """

    path: Path
    name: str
    stem: Path

    def make_output_path(self, output_dir: Path, ending: str) -> Path:
        """`stem` in the output folder, with an ending; its subfolder is created.

        A name that is too long for a file system gets a hash in place of the stem's end.
        """
        stem = output_dir / self.stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        return stem.with_name(short_name(stem.name, ending, self.name))


def list_batch(audio_dir: Path, output_dir: Path, glob: str, limit: int) -> list[BatchItem]:
    """List the audio files in a folder, sorted by name, and name their outputs.

    Outputs have the same subfolders as the inputs. The stem for `a.mp3` is `a`; if there is also
    an `a.wav` in the same folder, their stems are `a.mp3` and `a.wav`.

    Args:
        audio_dir: the input folder.
        output_dir: the output folder; if it is inside the input folder, its files are not inputs.
        glob: pattern that the files match, relative to `audio_dir`.
        limit: maximum number of files; 0 and below for all.

    Raises:
        InputError: the folder does not exist, the pattern is malformed, or no file matches.
    """
    paths = list_audio_files(audio_dir, output_dir, glob)
    # A stem is unique if no other file has it as its stem or as its whole name.
    uses = Counter(
        name.casefold() for path in paths for name in {str(path.with_suffix("")), str(path)}
    )
    items = []
    for path in paths:
        unique = path.with_suffix("") if uses[str(path.with_suffix("")).casefold()] == 1 else path
        relative = path.relative_to(audio_dir)
        items.append(BatchItem(path, relative.as_posix(), unique.relative_to(audio_dir)))
    return items[:limit] if limit > 0 else items


def run_batch(
    label: str,
    items: Sequence[BatchItem],
    work: Callable[[BatchItem], None],
    num_threads: int | None = None,
) -> None:
    """Call `work` for every item; an exception fails its item only.

    Args:
        label: text beside the progress bar.
        items: the files.
        work: called from several threads.
        num_threads: number of parallel calls; default: one per CPU that this process may use.

    Raises:
        BatchError: some items failed.
        BatchDefectError: some items failed, at least one because of a defect in Riffusion.
        InputError: `num_threads` is below 1.
    """
    if num_threads is not None and num_threads < 1:
        raise InputError(f"{num_threads} must be at least 1", field="num_threads")

    def work_on(item: BatchItem) -> None:
        item_in_work.set(item.name)
        work(item)

    failures: dict[BatchItem, Exception] = {}
    pool = ThreadPoolExecutor(min(num_threads or num_usable_cpus(), max(len(items), 1)))
    try:
        futures = {pool.submit(work_on, item): item for item in items}
        with progress_bar(label) as move:
            for done, future in enumerate(as_completed(futures), start=1):
                try:
                    future.result()
                except Exception as error:
                    failures[futures[future]] = error
                move(done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    raise_failures({item.name: failures[item] for item in items if item in failures}, len(items))


def raise_failures(failures: Mapping[str, Exception], num_items: int, noun: str = "files") -> None:
    """Raise the error for the failed files or jobs of a batch, if there are any.

    Args:
        failures: the exception of each failed one, by name.
        num_items: number of files or jobs in the batch, failed or not.
        noun: what they are, in the plural.

    Raises:
        BatchError: some failed.
        BatchDefectError: some failed, at least one because of a defect in Riffusion.
    """
    if failures:
        is_defect = any(is_own_defect(failure) for failure in failures.values())
        raise (BatchDefectError if is_defect else BatchError)(failures, num_items, noun)


def is_own_defect(error: Exception) -> bool:
    """Whether an exception means a defect in Riffusion: it is no `RiffusionError` or `OSError`."""
    return not isinstance(error, (RiffusionError, OSError))
