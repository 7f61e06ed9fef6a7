"""The final split of each recording, once it is known which can be used.

Images are written to the split that their recording has if every file can be used. Most often that
is its final one; otherwise its folder is moved as a whole. A killed run can be resumed at any
moment of this, since each folder is in one split or the other.
"""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from riffusion.datasets.folder import METADATA_NAME, SPLITS
from riffusion.datasets.from_audio.records import output_errors
from riffusion.datasets.from_audio.sources import Source

_FOLDERS = "[0-9]" * 6 + "*"


def move_to_final_splits(directory: Path, sources: Sequence[Source]) -> None:
    """Move images to the split of their source, and delete images of other sources.

    Metadata of an earlier run is deleted first if anything is to be done, so that a folder without
    it is never taken for a complete data set.

    Args:
        directory: the data-set folder.
        sources: the sources with images, in their final split.

    Raises:
        OutputError: a folder can't be moved.
    """
    wanted = {source.folder: source.split for source in sources}
    misplaced = [
        folder
        for split in SPLITS
        for folder in sorted((directory / split).glob(_FOLDERS))
        if folder.is_dir() and wanted.get(folder.name) != split
    ]
    if not misplaced:
        return
    with output_errors():
        for split in SPLITS:
            (directory / split / METADATA_NAME).unlink(missing_ok=True)
        for folder in misplaced:
            final_split = wanted.get(folder.name)
            if final_split is None or (directory / final_split / folder.name).exists():
                shutil.rmtree(folder)
            else:
                (directory / final_split).mkdir(exist_ok=True)
                folder.rename(directory / final_split / folder.name)
    for split in SPLITS:
        with contextlib.suppress(OSError):  # a split without images has no folder
            (directory / split).rmdir()
