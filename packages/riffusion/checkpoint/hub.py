"""Downloading a checkpoint from the Hugging Face hub into the hub client's local cache.

The client does most of it: a pinned commit in the cache is used without asking the hub, and if the
hub can't be reached, or `HF_HUB_OFFLINE` is set, a complete copy in the cache is used. This module
chooses the files, and turns the client's errors into one line with a remedy.
"""

from __future__ import annotations

import dataclasses
import glob
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined] # HTTPError is its client's
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from riffusion.checkpoint.files import INDEX_NAME, TOKENIZER_NAMES, first_line, needed_files
from riffusion.checkpoint.source import CheckpointSource
from riffusion.errors import CheckpointError

logger = logging.getLogger(__name__)

CLIP_ID = "openai/clip-vit-large-patch14"
"""Repository with the tokenizer of Stable Diffusion 1.x, which single files don't include."""
CLIP_COMMIT = "32bd64288804d66eefd0ccbe215aa642df71cc41"

REQUEST_TIMEOUT_S = 20.0
"""Time for the hub's first response. The client's own requests for metadata have no limit."""

_ACCESS_STATUSES = (401, 403)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class FileChoice(Protocol):
    """Chooses the files of a checkpoint to download: see `needed_files`."""

    def __call__(self, names: Iterable[str], *, prefer_half: bool, where: str) -> list[str]: ...


def fetch(
    source: CheckpointSource,
    *,
    revision: str | None = None,
    prefer_half: bool = False,
    local_files_only: bool = False,
    choice: FileChoice = needed_files,
) -> tuple[Path, CheckpointSource]:
    """Download the files of a checkpoint that loading needs and the local cache lacks.

    Args:
        source: a source of kind `hub`.
        revision: commit, tag or branch, in place of the source's.
        prefer_half: take weights published in half precision over the full ones.
        local_files_only: use the local cache only.
        choice: chooses the files; by default those of a Stable Diffusion 1.x checkpoint.

    Returns:
        The local folder, and the source with the commit that it holds.

    Raises:
        CheckpointError: the repository, revision or a file doesn't exist or is not accessible, the
            download was interrupted, or the disk is full.
    """
    name, wanted = source.location, revision or source.revision
    # The index comes first: with it the client stores the commit's list of files in the cache.
    folder = _download(name, wanted, [INDEX_NAME], local_files_only)
    names = _file_names(name, folder)
    needed = choice(names, prefer_half=prefer_half, where=name)
    commit = folder.name
    folder = _download(name, commit, needed, local_files_only)
    if wanted != commit:
        logger.warning(
            "%s is not pinned: %s is commit %s today; use %s@%s to always load this one",
            name,
            wanted or "its default branch",
            commit,
            name,
            commit,
        )
    return folder, dataclasses.replace(source, revision=commit)


def fetch_index(source: CheckpointSource) -> Path:
    """Download the `model_index.json` of a source of kind `hub`, or find it in the local cache.

    Returns:
        The local folder with it.

    Raises:
        CheckpointError: as `fetch`.
    """
    return _download(source.location, source.revision, [INDEX_NAME], local_files_only=False)


def fetch_clip_tokenizer(*, local_files_only: bool = False) -> Path:
    """Download the tokenizer of Stable Diffusion 1.x, or find it in the local cache.

    Returns:
        The local folder with its files.

    Raises:
        CheckpointError: the cache lacks it and the hub can't be reached.
    """
    return _download(CLIP_ID, CLIP_COMMIT, TOKENIZER_NAMES, local_files_only)


def _download(
    name: str, wanted: str | None, file_names: Sequence[str], local_files_only: bool
) -> Path:
    """The local folder of a commit, named after its hash, with the given files in it."""
    local_files_only = local_files_only or not (_is_cached(name, wanted) or _responds(name, wanted))
    try:
        folder = snapshot_download(
            name,
            revision=wanted,
            allow_patterns=[glob.escape(file_name) for file_name in file_names],
            local_files_only=local_files_only,
        )
    except Exception as error:  # the client raises errors of many libraries; the first line tells
        raise CheckpointError(_message(error, name, wanted)) from error
    return Path(folder)


def _is_cached(name: str, wanted: str | None) -> bool:
    """Whether this is a commit whose list of files is in the cache: no need to ask the hub."""
    if wanted is None or not _COMMIT.fullmatch(wanted):
        return False
    try:
        get_cached_repo_tree(name, revision=wanted)
    except CachedRepoTreeNotFoundError:
        return False
    return True


def _responds(name: str, wanted: str | None) -> bool:
    """Whether the hub responds in time, with whatever it says."""
    try:
        HfApi().model_info(name, revision=wanted, timeout=REQUEST_TIMEOUT_S)
    except HfHubHTTPError:
        return True  # the download gets the same response and explains it
    except (HTTPError, OfflineModeIsEnabled):
        return False
    except Exception:  # not a hub's response, such as a login page
        return True
    return True


def _file_names(name: str, folder: Path) -> list[str]:
    """All file names of a commit, from the list that the client stored in the cache."""
    try:
        return [file.path for file in get_cached_repo_tree(name, revision=folder.name)]
    except CachedRepoTreeNotFoundError:  # downloaded by an older client, and the hub not reached
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _message(error: Exception, name: str, wanted: str | None) -> str:
    """What an error of the hub's client means for the user, and the remedy."""
    what = f"checkpoint {f'{name}@{wanted}' if wanted else name}"
    cause = error
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        cause = error.__cause__
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
    reason = first_line(cause)
    no_access = (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError)
    if isinstance(cause, no_access) or status in _ACCESS_STATUSES:
        return (
            f"{what} can't be read from the hub ({reason}); check the spelling of owner/name and "
            "revision, and if it is private or gated, accept its terms on the hub and set HF_TOKEN"
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return (
            f"{what} is not complete in the local cache and can't be downloaded ({reason}); "
            "connect and unset HF_HUB_OFFLINE, or name a local folder"
        )
    return (
        f"{what} can't be fetched ({reason}); run it again to resume, check the network, "
        "HF_ENDPOINT and the free disk space in HF_HOME, or name a local folder"
    )
