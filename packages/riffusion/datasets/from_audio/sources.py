"""The audio files of a data set: numbering, train/validation split, fingerprint."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from riffusion.datasets.folder import Split


@dataclass(frozen=True)
class AudioFile:
    """A recording.

    Args:
        path: the file.
        name: path relative to the audio folder, with `/` between the parts.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Source:
    """A recording with its number and split in the data set.

    Args:
        file: the recording.
        number: position in the order of the files. It names the folder of the images. File names
            aren't used, as the `datasets` library takes words such as `test` in a path for a split.
        split: the split of all its images.
    """

    file: AudioFile
    number: int
    split: Split

    @property
    def folder(self) -> str:
        """Folder of its images, relative to the split's folder."""
        return f"{self.number:06d}"


def assign_splits(files: Sequence[AudioFile], validation_share: float, seed: int) -> list[Source]:
    """Number the files, and choose at random those for validation.

    Args:
        files: the files, in order.
        validation_share: share of the files for validation, rounded. Above 0, at least one file is
            used if there are two or more. At least one file is left for training.
        seed: determines which files are chosen.
    """
    sources = [Source(file, number, "train") for number, file in enumerate(files)]
    return reassign_splits(sources, validation_share, seed)


def reassign_splits(sources: Sequence[Source], validation_share: float, seed: int) -> list[Source]:
    """Choose the splits as `assign_splits` does, and keep the numbers."""
    count = round(validation_share * len(sources))
    if validation_share > 0:
        count = min(max(count, 1), len(sources) - 1)
    ordered = sorted(sources, key=lambda source: _random_key(source.file, seed))
    chosen = {source.file.name for source in ordered[: max(count, 0)]}
    return [
        replace(source, split="validation" if source.file.name in chosen else "train")
        for source in sources
    ]


def fingerprint(files: Iterable[AudioFile], captions: Mapping[str, bytes]) -> str:
    """Hash of the inputs: names and sizes of the files, and all captions.

    Raises:
        OSError: a file is missing.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.path.stat().st_size}\0".encode(errors="surrogateescape"))
    for name, content in sorted(captions.items()):
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return digest.hexdigest()[:16]


def _random_key(file: AudioFile, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{file.name}".encode(errors="surrogateescape")).digest()
