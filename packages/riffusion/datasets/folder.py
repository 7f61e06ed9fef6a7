"""The data-set folder: captioned spectrogram images, as `datasets` and diffusers read them.

    DIR/README.md                  data-set card: origin and licences
    DIR/spectrogram_params.json    spectrogram parameters of the images
    DIR/dataset.json               format, command and options that the data set was made with
    DIR/train/metadata.jsonl       one row per image: file_name, text, captions, …
    DIR/train/….png
    DIR/validation/…               the same, from other sources

Rows are Hugging Face's "imagefolder" metadata. `text` is one caption; `captions` lists all
alternatives, and training picks one of them at random each time.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from PIL import Image

from riffusion.errors import InputError, MediaError
from riffusion.io.files import write_file
from riffusion.io.folders import is_vacant
from riffusion.io.images import read_image
from riffusion.io.locks import sole_writer as sole_writer  # for the makers of data sets
from riffusion.spectrogram.params import SpectrogramParams

FORMAT = 1
METADATA_NAME = "metadata.jsonl"
INFO_NAME = "dataset.json"
LATENTS_NAME = "latents.safetensors"
LATENTS_INDEX_NAME = "latents.index.json"
"""One of these is in a split's folder if the data set holds latents instead of images."""
SHARDS_NAME = "shards.json"
"""It is in the folder of a sharded data set (`shards`)."""

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class DatasetRow:
    """One image with its metadata.

    Args:
        file_name: path of the image, relative to its split's folder, with forward slashes.
        text: the caption.
        captions: all alternative captions; empty means `text` only.
        wordings: names of the caption templates, parallel to `captions`; or empty.
        label: class for evaluation, such as `piano`; empty if unknown.
        kind: `instrument`, `beat`, `mixture`, or empty.
        source: the file or score that the image was made from.
        extras: further scalar columns, the same in every row of a data set.
    """

    file_name: str
    text: str
    captions: tuple[str, ...] = ()
    wordings: tuple[str, ...] = ()
    label: str = ""
    kind: str = ""
    source: str = ""
    extras: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of `metadata.jsonl`, without its line break; `from_json` is the inverse."""
        row = {name: getattr(self, name) for name in _COLUMNS} | dict(self.extras)
        return json.dumps(row, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str, where: str = METADATA_NAME) -> Self:
        """Read a line of `metadata.jsonl`. Unknown columns go to `extras`.

        Args:
            line: the line.
            where: its position, for error messages.

        Raises:
            InputError: the line is not a JSON object with `file_name` and `text`, or a known column
                has the wrong type.
        """
        try:
            values: Any = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not JSON ({error}); write one object per line") from error
        if not isinstance(values, dict):
            raise InputError(f"{where} is not a JSON object; write one with file_name and text")
        row: dict[str, Any] = {}
        for name in _COLUMNS:
            value = values.pop(name, None)
            if value is None:
                if name in ("file_name", "text"):
                    raise InputError(f"{where} has no {name!r}; file_name and text are required")
                continue
            if name in ("captions", "wordings"):
                if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                    raise InputError(f"{where}: {name}={value!r} must be a list of strings")
                value = tuple(value)
            elif not isinstance(value, str):
                raise InputError(f"{where}: {name}={value!r} must be a string")
            row[name] = value
        return cls(**row, extras=values)

    @property
    def all_captions(self) -> tuple[str, ...]:
        """All alternative captions; `text` if there are no others."""
        return self.captions or (self.text,)


_COLUMNS = ("file_name", "text", "captions", "wordings", "label", "kind", "source")


class DatasetFolder:
    """A data-set folder, for reading.

    Args:
        directory: the folder that contains `train/`.

    Attributes:
        address: the folder, or the address of a sharded data set (`shard_folder`), for messages.

    Raises:
        InputError: the folder isn't a data set.
    """

    def __init__(self, directory: str | Path) -> None:
        self.address = str(directory)
        self.directory = Path(directory)
        if (self.directory / SHARDS_NAME).is_file():
            raise InputError(
                f"dataset={str(directory)!r} is a sharded data set, which only `riffusion train` "
                "reads; name the data-set folder that it was written from"
            )
        if not (self.directory / "train" / METADATA_NAME).is_file():
            raise InputError(
                f"dataset={str(directory)!r} has no train/{METADATA_NAME}; make a data set with "
                "`riffusion dataset build` or `riffusion dataset synthesize`"
            )
        self.params = SpectrogramParams.load(self.directory)

    def rows(self, split: Split) -> list[DatasetRow]:
        """Rows of a split, in the order of the file; empty if the split doesn't exist.

        Raises:
            InputError: the file can't be read, or a row is malformed or names a file outside the
                split's folder.
        """
        path = self.directory / split / METADATA_NAME
        if not path.is_file():
            return []
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}); make the data set again") from error
        return parsed_rows(text, str(path))

    def read_image(self, split: Split, row: DatasetRow) -> Image.Image:
        """A row's image.

        Raises:
            MediaError: the image is missing or damaged.
            InputError: the data set holds latents instead of images.
        """
        path = self.image_path(split, row)
        try:
            return read_image(path)
        except InputError as error:
            raise MediaError(f"image={str(path)!r} cannot be read: {error}") from error

    def image_size(self) -> tuple[int, int]:
        """(height, width) of the first image for training, in pixels.

        Raises:
            MediaError, InputError: as `read_image`.
        """
        width, height = self.read_image("train", self.rows("train")[0]).size
        return height, width

    def digests(self, split: Split) -> list[bytes]:
        """What a split's images depend on: the metadata, and the hash of each image.

        Raises:
            MediaError: an image can't be read.
            InputError: the data set holds latents instead of images.
        """
        rows = self.rows(split)
        found = [(self.directory / split / METADATA_NAME).read_bytes()]
        for row in rows:
            path = self.image_path(split, row)
            try:
                found.append(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise MediaError(f"image={str(path)!r} cannot be read: {error}") from error
        return found

    def fingerprint(self) -> dict[str, str]:
        """What an exactly resumed run has the same of, as SHA-256 in hexadecimal.

        Every byte of the images is read, since neither names and sizes nor times tell other images
        from a copy. 10,000 images of 50 KB take 2 s from a local disk, 1 s if they were just used.

        Returns:
            `data_sha256`, of the rows for training, and `files_sha256`, of their images or latents.

        Raises:
            MediaError: an image can't be read.
            InputError: the rows or the latents can't be read.
        """
        rows = "".join(row.to_json() for row in self.rows("train"))
        return {
            "data_sha256": hashlib.sha256(rows.encode("utf-8", "surrogatepass")).hexdigest(),
            "files_sha256": hashlib.sha256(b"".join(self._file_digests("train"))).hexdigest(),
        }

    def _file_digests(self, split: Split) -> list[bytes]:
        """Hashes of a split's images in the order of the rows, or of its latents."""
        directory = self.directory / split
        if not holds_latents(directory):
            return self.digests(split)[1:]
        index = directory / LATENTS_INDEX_NAME  # it has the hashes of its files
        path = index if index.is_file() else directory / LATENTS_NAME
        try:
            with path.open("rb") as file:
                return [hashlib.file_digest(file, "sha256").digest()]
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error}); copy it again") from error

    def image_path(self, split: Split, row: DatasetRow) -> Path:
        """Path of a row's image.

        Raises:
            InputError: the data set holds latents instead of images.
        """
        path = self.directory / split / row.file_name
        if not path.is_file() and holds_latents(self.directory / split):
            raise InputError(
                f"dataset={str(self.directory)!r} holds latents instead of image "
                f"{row.file_name!r}; name the data set that `riffusion dataset encode` was given"
            )
        return path


def parsed_rows(text: str, where: str) -> list[DatasetRow]:
    """The rows of a `metadata.jsonl`.

    Args:
        text: its content.
        where: its path or address, for messages.

    Raises:
        InputError: a row is malformed or names a file outside the split's folder.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # not at U+2028, as splitlines
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        row = DatasetRow.from_json(line, place)
        name = Path(row.file_name)
        if name.is_absolute() or ".." in name.parts:
            raise InputError(f"{place}: file_name={row.file_name!r} must stay in the folder")
        rows.append(row)
    return rows


def holds_latents(split_directory: Path) -> bool:
    """Whether a split's folder holds latents (`latent_files`) instead of images."""
    names = (LATENTS_NAME, LATENTS_INDEX_NAME)
    return any((split_directory / name).is_file() for name in names)


def write_metadata(directory: Path, split: Split, rows: Iterable[DatasetRow]) -> None:
    """Write a split's `metadata.jsonl` atomically.

    Raises:
        InputError: the file can't be written.
    """
    folder = directory / split
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(row.to_json() + "\n" for row in rows)
    write_file(text.encode(), folder / METADATA_NAME)


def claim_directory(
    directory: Path, command: str, options: Mapping[str, Any], params: SpectrogramParams
) -> None:
    """Start a data set in `directory`, or check that one was started there with the same options.

    Args:
        directory: created if it doesn't exist.
        command: the command that makes the data set, such as `dataset build`.
        options: everything that affects the images and captions, as JSON values.
        params: spectrogram parameters of the images.

    Raises:
        InputError: the folder holds something else, or a data set made with other options.
    """
    info = {"format": FORMAT, "command": command, "options": dict(options)}
    path = directory / INFO_NAME
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); choose another folder") from error
        if found != json.loads(json.dumps(info)):
            raise InputError(
                f"output={str(directory)!r} was made with other options ({_difference(found, info)}"
                "); choose another folder, or delete this one"
            )
    elif directory.exists() and not is_vacant(directory):
        raise InputError(
            f"output={str(directory)!r} exists and is not a data set; choose an empty folder"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            write_file((json.dumps(info, indent=2) + "\n").encode(), path)
        params.save(directory)  # again: a run may have been killed before it wrote them
    except OSError as error:
        raise InputError(
            f"output={str(directory)!r} cannot be created ({error.strerror}); make room there, or "
            "choose another place"
        ) from error


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    """The first option that differs, as `name: OLD then, NEW now`."""
    if not isinstance(found, dict) or found.get("command") != wanted["command"]:
        made_by = found.get("command") if isinstance(found, dict) else None
        return f"command: {made_by!r} then, {wanted['command']!r} now"
    then = found.get("options", {})
    now: dict[str, Any] = json.loads(json.dumps(wanted["options"]))
    for name in [*now, *then]:
        if now.get(name) != then.get(name):
            return f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
    return f"format: {found.get('format')!r} then, {FORMAT} now"
