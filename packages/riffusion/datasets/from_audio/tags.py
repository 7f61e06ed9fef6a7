"""Captions from the tags of recordings."""

from pathlib import Path

import av

from riffusion.audio.streams import CONTAINERS
from riffusion.datasets.from_audio.captions import Caption, one_line


def caption_from_tags(path: Path) -> Caption | None:
    """Caption `Title, genre, by artist` from a recording's tags.

    Args:
        path: a file that `read_audio` can read.

    Returns:
        None if neither title nor genre is tagged, or the file can't be read.
    """
    tags: dict[str, str] = {}
    options = {"format_whitelist": CONTAINERS}
    try:
        with (
            path.open("rb") as file,
            av.open(file, "r", options=options, metadata_errors="replace") as container,
        ):
            streams = [stream.metadata for stream in container.streams.audio]
            for metadata in (container.metadata, *streams):
                tags |= {key.lower(): one_line(value) for key, value in metadata.items()}
    except (av.FFmpegError, ValueError):
        return None
    parts = [tags[name] for name in ("title", "genre") if tags.get(name)]
    if not parts:
        return None
    if tags.get("artist"):
        parts.append(f"by {tags['artist']}")
    return Caption(", ".join(parts))
