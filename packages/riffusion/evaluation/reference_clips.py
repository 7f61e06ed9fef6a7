"""Real clips of a data set by label: small planes in memory, full ones read on demand."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from riffusion.datasets.folder import DatasetFolder, DatasetRow, Split
from riffusion.errors import InputError
from riffusion.evaluation.images import Plane, read_plane, shrink
from riffusion.evaluation.progress import Progress, silent
from riffusion.spectrogram.params import SpectrogramParams

MIN_TRAINING_CLIPS = 8
MIN_HELD_OUT_CLIPS = 4
"""Minimum clips per label. Two halves of two clips are the smallest sets with a variance."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReferenceClips:
    """Clips of one split.

    Args:
        rows: the data set's row of each clip.
        paths: their image files.
        labels: all labels, sorted.
        targets: (clips,) index into `labels`.
        small: (clips, rows, frames) shrunk planes.
        size: (width, height) of the images.
        params: spectrogram parameters of the images.
    """

    rows: tuple[DatasetRow, ...]
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    targets: Indices
    small: Plane
    size: tuple[int, int]
    params: SpectrogramParams

    def __len__(self) -> int:
        return len(self.rows)

    def plane(self, index: int) -> Plane:
        """The full plane of a clip, (frequency, time)."""
        return read_plane(self.paths[index], self.params)

    def of_label(self, target: int) -> Indices:
        """Indices of the clips with a label, in the data set's order."""
        return np.flatnonzero(self.targets == target)

    def some_of_each_label(self, count: int, rng: np.random.Generator) -> Indices:
        """Indices of at most `count` random clips per label, label after label."""
        drawn = [rng.permutation(self.of_label(t))[:count] for t in range(len(self.labels))]
        return np.concatenate([np.sort(indices) for indices in drawn])


def kinds_by_label(rows: Sequence[DatasetRow]) -> dict[str, str]:
    """The most frequent kind of each label's rows."""
    counts = Counter((row.label, row.kind) for row in rows)
    return {label: kind for (label, kind), _ in reversed(counts.most_common())}


def choose_labels(dataset: DatasetFolder, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels to evaluate, sorted.

    Args:
        dataset: the data set.
        wanted: labels to choose; empty for all.

    Raises:
        InputError: there are fewer than two labels, a wanted one is unknown, or one has too few
            clips.
    """
    where = f"dataset={str(dataset.directory)!r}"
    training = Counter(row.label for row in dataset.rows("train") if row.label)
    held_out = Counter(row.label for row in dataset.rows("validation") if row.label)
    known = sorted({*training, *held_out})
    if not known:
        raise InputError(
            f"{where} has no labels; evaluation needs a `label` in each row of both splits: add "
            "one to metadata.jsonl, or make the data set with `riffusion dataset synthesize`"
        )
    if not held_out:
        raise InputError(
            f"{where} has no validation split; evaluation needs at least {MIN_HELD_OUT_CLIPS} "
            "held-out clips of each label: build it again with a validation share"
        )
    for label in wanted:
        if label not in known:
            raise InputError(
                f"{label!r} is not a label of {where}; its labels are {', '.join(known)}", "labels"
            )
    chosen = sorted(set(wanted)) or known
    if len(chosen) < 2:
        raise InputError(f"{where}: labels={chosen} is one label; the classifier needs at least 2")
    for label in chosen:
        for split, count, least in (
            ("train", training[label], MIN_TRAINING_CLIPS),
            ("validation", held_out[label], MIN_HELD_OUT_CLIPS),
        ):
            if count < least:
                raise InputError(
                    f"{where}: label={label!r} has {count} clips in {split}; at least {least} are "
                    "needed: add clips, or leave it out by naming the other labels"
                )
    return tuple(chosen)


def load_clips(
    dataset: DatasetFolder,
    split: Split,
    labels: Sequence[str],
    *,
    max_clips: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ReferenceClips:
    """Read the clips of a split.

    Args:
        dataset: the data set.
        split: the split.
        labels: labels to read, sorted.
        max_clips: maximum number of clips, spread evenly over the labels; `MIN_TRAINING_CLIPS` or
            `MIN_HELD_OUT_CLIPS` per label are read in any case.
        seed: decides which clips are read if there are more.
        progress: shows how many are read.

    Raises:
        InputError: an image is missing, damaged or differs in size from the first one.
    """
    index_of = {label: index for index, label in enumerate(labels)}
    rows = [row for row in dataset.rows(split) if row.label in index_of]
    targets = np.array([index_of[row.label] for row in rows], dtype=np.int64)
    if max_clips is not None:
        least = MIN_TRAINING_CLIPS if split == "train" else MIN_HELD_OUT_CLIPS
        max_clips = max(max_clips, least * len(labels))
    chosen = _in_turns(targets, max_clips, np.random.default_rng([seed, len(rows)]))
    rows = [rows[index] for index in chosen]
    paths = [dataset.image_path(split, row) for row in rows]
    small, size = _read_small(paths, dataset.params, f"reading {split} clips", progress)
    return ReferenceClips(
        rows=tuple(rows),
        paths=tuple(paths),
        labels=tuple(labels),
        targets=targets[chosen],
        small=small,
        size=size,
        params=dataset.params,
    )


def _in_turns(targets: Indices, max_clips: int | None, rng: np.random.Generator) -> Indices:
    """Sorted indices of at most `max_clips` clips, spread over the labels as evenly as possible."""
    if max_clips is None or max_clips >= len(targets):
        return np.arange(len(targets))
    order = rng.permutation(len(targets))
    turns = np.zeros(len(targets), dtype=np.int64)  # number of earlier clips with the same label
    for target in np.unique(targets):
        of_label = order[targets[order] == target]
        turns[of_label] = np.arange(len(of_label))
    by_turn = order[np.argsort(turns[order], kind="stable")]
    return np.sort(by_turn[:max_clips])


def _read_small(
    paths: Sequence[Path], params: SpectrogramParams, label: str, progress: Progress
) -> tuple[Plane, tuple[int, int]]:
    """Small planes (clips, rows, frames), and the (width, height) of the images."""

    def read(path: Path) -> tuple[Plane, tuple[int, int]]:
        plane = read_plane(path, params)
        return shrink(plane), (plane.shape[1], plane.shape[0])

    planes = []
    first: tuple[int, int] | None = None
    with ThreadPoolExecutor(2) as pool, progress(label) as move:  # decoding releases the GIL
        for path, (plane, size) in zip(paths, pool.map(read, paths), strict=True):
            first = first or size
            if size != first or size[1] != params.num_frequencies:
                right = first if size != first else (size[0], params.num_frequencies)
                raise InputError(
                    f"path={str(path)!r} is {size[0]}×{size[1]} pixels; {right[0]}×{right[1]} are "
                    "expected from num_frequencies and the images before it; rebuild the data set "
                    "with one size"
                )
            planes.append(plane)
            move(len(planes), len(paths))
    if first is None:
        raise InputError("a split has no clips of these labels; at least one is needed")
    return np.stack(planes), first
