"""What a build reads: the recordings, and the captions that come with them in files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from riffusion.datasets.from_audio.captions import (
    METADATA_NAMES,
    Caption,
    MetadataFile,
    find_metadata,
    match_captions,
    read_metadata_file,
)
from riffusion.datasets.from_audio.options import BuildOptions
from riffusion.datasets.from_audio.sidecars import (
    caption_from_sidecar,
    find_sidecars,
    read_sidecar,
)
from riffusion.datasets.from_audio.sources import AudioFile
from riffusion.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildInputs:
    """Recordings and captions.

    Args:
        recordings: the recordings, in order.
        captions: captions by the recording's name, from metadata or else from a text file.
        contents: content of every file of captions by name, for the fingerprint.
    """

    recordings: list[AudioFile]
    captions: dict[str, Caption]
    contents: dict[str, bytes]


def gather_inputs(
    audio_dir: Path, files: Sequence[AudioFile], directory: Path, options: BuildOptions
) -> BuildInputs:
    """Tell recordings from files of captions, and read the latter.

    Args:
        audio_dir: the folder of the recordings, which is also searched for metadata files.
        files: its files.
        directory: the data set, whose files are not inputs.
        options: where captions come from.

    Raises:
        InputError: there are no recordings, captions don't match, or a file of captions can't be
            read or is malformed.
    """
    metadata = _metadata_files(audio_dir, directory, options)
    uses_sidecars = options.caption_source in ("auto", "sidecars")
    sidecars = find_sidecars(files) if uses_sidecars else {}
    recordings = _recordings(audio_dir, files, options, set(sidecars.values()))
    captions, unmatched = match_captions(metadata, [file.name for file in recordings])
    if unmatched:
        logger.warning(
            "%d rows of the captions match no file, for instance file_name=%r",
            len(unmatched),
            unmatched[0],
        )
    contents = {file.name: file.content for file in metadata}
    for recording in recordings:
        path = sidecars.get(recording.name)
        if path is not None and recording.name not in captions:
            contents[recording.name] = read_sidecar(path)
            caption = caption_from_sidecar(contents[recording.name])
            if caption is not None:
                captions[recording.name] = caption
    return BuildInputs(recordings, captions, contents)


def _metadata_files(audio_dir: Path, directory: Path, options: BuildOptions) -> list[MetadataFile]:
    if options.captions is not None:
        return [read_metadata_file(options.captions)]
    if options.caption_source not in ("auto", "metadata"):
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
    audio_dir: Path, files: Sequence[AudioFile], options: BuildOptions, sidecars: set[Path]
) -> list[AudioFile]:
    """The audio files: `files` without files of captions."""
    captions = None if options.captions is None else options.captions.resolve()
    recordings = [
        file
        for file in files
        if file.path.name.lower() not in METADATA_NAMES
        and file.path.resolve() != captions
        and file.path not in sidecars
    ]
    if not recordings:
        raise InputError(
            f"{str(audio_dir)!r} has no audio file; name a folder with recordings",
            field="audio_dir",
        )
    return recordings
