"""The files that a data set is made of: their numbers, their splits, and what identifies them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from riffusion.datasets.folder import Split


@dataclass(frozen=True)
class AudioFile:
    """A recording.

    Args:
        path: the file.
        name: path below the audio folder, `/` between the parts.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Source:
    """A recording with its place in the data set.

    Args:
        file: the recording.
        number: in the order of the files; names the folder of its images. Names of files are
            not used for it: `datasets` takes words such as `test` in a path for a split.
        split: that all its images go to.
    """

    file: AudioFile
    number: int
    split: Split

    @property
    def folder(self) -> str:
        """Of its images, below its split's."""
        return f"{self.number:06d}"


def assign_splits(files: Sequence[AudioFile], validation_share: float, seed: int) -> list[Source]:
    """Number the files, and draw those for validation.

    Args:
        files: in order.
        validation_share: of the files, rounded; over 0 at least one file, if there are two.
        seed: another seed, other files.
    """
    count = round(validation_share * len(files))
    if validation_share > 0 and len(files) > 1:
        count = min(max(count, 1), len(files) - 1)
    drawn = {file.name for file in sorted(files, key=lambda file: _draw(file, seed))[:count]}
    return [
        Source(file, number, "validation" if file.name in drawn else "train")
        for number, file in enumerate(files)
    ]


def fingerprint(files: Iterable[AudioFile], captions: Mapping[str, bytes]) -> str:
    """What tells apart another set of inputs: names and sizes of files, and all captions.

    Raises:
        OSError: a file is gone.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.path.stat().st_size}\0".encode(errors="surrogateescape"))
    for name, content in sorted(captions.items()):
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return digest.hexdigest()[:16]


def _draw(file: AudioFile, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{file.name}".encode(errors="surrogateescape")).digest()
