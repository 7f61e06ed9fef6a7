"""A remix in which some stems have another sound: each is restyled as a recording of its own."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from riffusion.audio.pcm import Pcm, Samples
from riffusion.audio.recording import Recording
from riffusion.editing.regions import check_length
from riffusion.editing.splicing import Part, write_spliced, writer_like
from riffusion.editing.stems import Progress, Separator, check_gains, remixed, write_stems

logger = logging.getLogger(__name__)

Restyle = Callable[[Recording], "list[Part]"]
"""Restyles one stem; see `restyling.restyle`."""


def restyled_remix(
    recording: Recording,
    separator: Separator,
    restyles: Mapping[str, Restyle],
    gains: Mapping[str, float],
    warn: Callable[[str], None] = logger.warning,
) -> Generator[Samples]:
    """A remix in blocks of the recording's own sample type. The stems are in temporary files.

    Args:
        recording: the recording.
        separator: takes it apart.
        restyles: what becomes of stems, by the stem's name.
        gains: as of `stems.remixed`; those of restyled stems apply to the new sound.
        warn: told that it clips, or that the new sound of a stem does.

    Raises:
        InputError: a stem that the separator doesn't have, a gain out of range, a recording that is
            too short, or a file can't be written.
    """
    check_gains({**dict.fromkeys(restyles, 1.0), **gains}, separator)
    check_length(recording)
    with TemporaryDirectory(prefix="riffusion-stems-") as folder, ExitStack() as opened:
        before = {name: Path(folder) / f"{name}.wav" for name in restyles}
        write_stems(recording, separator, before)
        restyled = {}
        for name, restyle in restyles.items():
            after = Path(folder) / f"{name}-restyled.wav"
            with Recording.open(before[name]) as stem:
                write_spliced(stem, restyle(stem), after, warn=warn)
            restyled[name] = opened.enter_context(Recording.open(after))
        yield from remixed(recording, separator, gains, restyled, warn)


def write_restyled_remix(
    recording: Recording,
    separator: Separator,
    restyles: Mapping[str, Restyle],
    gains: Mapping[str, float],
    path: Path,
    on_progress: Progress | None = None,
) -> None:
    """Write a remix with the recording's length, rate, channels and bits, whole or not at all.

    Args:
        recording, separator, restyles, gains: as of `restyled_remix`.
        path: the file.
        on_progress: reports the samples of the mix that are done.

    Raises:
        InputError: as `restyled_remix`, or the file can't be written.
    """
    position = 0
    blocks = restyled_remix(recording, separator, restyles, gains)
    with closing(blocks), writer_like(recording, path) as writer:
        for block in blocks:
            writer.write(Pcm(block, recording.sample_rate))
            position += block.shape[1]
            if on_progress is not None:
                on_progress(position, recording.num_samples)
