"""The same work for every file of a folder: mirrored names, threads, and failures at the end."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from riffusion.cli.progress import progress_bar
from riffusion.errors import InputError, RiffusionError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
TEXT_SUFFIXES = (".txt", ".md", ".csv", ".json", ".lrc", ".nfo", ".cue", ".m3u", ".pdf")
"""What lies beside audio files, such as covers, lyrics and the images of an earlier run. It is
passed over as hidden files are, unless the pattern ends in it."""


class BatchError(RiffusionError):
    """Some files of a batch failed; the others are done.

    Args:
        failures: why, by the files' names.
        num_files: of the batch.
    """

    def __init__(self, failures: Mapping[str, Exception], num_files: int) -> None:
        self.failures = failures
        super().__init__(f"{len(failures)} of {num_files} files failed; the others are done")


class BatchDefectError(BatchError):
    """Some failed because of a defect of Riffusion's own."""


@dataclass(frozen=True)
class BatchItem:
    """A file to work on.

    Args:
        path: the file.
        name: path below the input folder, `/` between the parts.
        stem: where its outputs go, below the output folder and without extension. No two items of
            a batch have the same one, whatever the case of letters.
    """

    path: Path
    name: str
    stem: Path


def list_batch(audio_dir: Path, output_dir: Path, glob: str, limit: int) -> list[BatchItem]:
    """The files of a folder, in order of their names, with names for their outputs.

    Outputs mirror the tree of the inputs. `a.mp3` gives `a`; where there is an `a.wav` beside it,
    they give `a.mp3` and `a.wav`.

    Args:
        audio_dir: where to look.
        output_dir: where outputs go; what lies there already is not an input.
        glob: which files.
        limit: how many at most; 0 and below for all.

    Raises:
        InputError: no such folder, a malformed pattern, or no file at all.
    """
    if not audio_dir.is_dir():
        what = "is no folder" if audio_dir.exists() else "does not exist"
        raise InputError(
            f"{str(audio_dir)!r} {what}; name a folder with audio files", field="audio_dir"
        )
    try:
        found = sorted(path for path in audio_dir.glob(glob) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"{glob!r} is no pattern ({error}); write one like '**/*.mp3'", field="glob"
        ) from None
    outputs = output_dir.resolve()
    is_apart = outputs != audio_dir.resolve()
    passed_over = tuple(
        suffix for suffix in IMAGE_SUFFIXES + TEXT_SUFFIXES if not glob.lower().endswith(suffix)
    )
    paths = [
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(audio_dir).parts)
        and path.suffix.lower() not in passed_over
        and not (is_apart and path.resolve().is_relative_to(outputs))
    ]
    if not paths:
        raise InputError(
            f"{str(audio_dir)!r} has no audio file that matches {glob!r}; name another folder, or "
            "write another pattern",
            field="audio_dir",
        )
    # Each file competes with its own stem and its own name against everybody else's.
    taken = Counter(
        name.casefold() for path in paths for name in {str(path.with_suffix("")), str(path)}
    )
    items = []
    for path in paths:
        unique = path.with_suffix("") if taken[str(path.with_suffix("")).casefold()] == 1 else path
        relative = path.relative_to(audio_dir)
        items.append(BatchItem(path, relative.as_posix(), unique.relative_to(audio_dir)))
    return items[:limit] if limit > 0 else items


def run_batch(
    label: str,
    items: Sequence[BatchItem],
    work: Callable[[BatchItem], None],
    num_threads: int | None = None,
) -> None:
    """Do the work for every item, going on after failures.

    Args:
        label: of the progress bar.
        items: what to work on.
        work: called from several threads; its exceptions are failures of the item.
        num_threads: items worked on at once; default one a CPU.

    Raises:
        BatchError: some failed.
        BatchDefectError: so, and some with another exception than `RiffusionError` and `OSError`.
        InputError: `num_threads` is below 1.
    """
    if num_threads is not None and num_threads < 1:
        raise InputError(f"{num_threads} must be at least 1", field="num_threads")
    failures: dict[BatchItem, Exception] = {}
    pool = ThreadPoolExecutor(min(num_threads or os.cpu_count() or 1, max(len(items), 1)))
    try:
        futures = {pool.submit(work, item): item for item in items}
        with progress_bar(label) as move:
            for done, future in enumerate(as_completed(futures), start=1):
                try:
                    future.result()
                except Exception as error:
                    failures[futures[future]] = error
                move(done, len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    if failures:
        by_name = {item.name: failures[item] for item in items if item in failures}
        is_defect = any(is_defect_of_ours(failure) for failure in failures.values())
        raise (BatchDefectError if is_defect else BatchError)(by_name, len(items))


def is_defect_of_ours(error: Exception) -> bool:
    """Whether an exception was not raised on purpose, nor by the operating system."""
    return not isinstance(error, (RiffusionError, OSError))
