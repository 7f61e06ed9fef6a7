"""Fetching a checkpoint from the Hugging Face hub into its local cache."""

from __future__ import annotations

import dataclasses
import glob
import logging
import re
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its client's
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from riffusion.checkpoint.files import TOKENIZER_NAMES, first_line, needed_files
from riffusion.checkpoint.source import CheckpointSource
from riffusion.errors import CheckpointError

logger = logging.getLogger(__name__)

CLIP_ID = "openai/clip-vit-large-patch14"
"""Where the tokenizer of Stable Diffusion 1.x was published; single files don't include it."""
CLIP_COMMIT = "32bd64288804d66eefd0ccbe215aa642df71cc41"
REQUEST_TIMEOUT_S = 20.0

_CLIENT_ERRORS = (HTTPError, OSError, ValueError, LookupError, TypeError, RevisionResolutionError)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(
    source: CheckpointSource,
    *,
    revision: str | None = None,
    prefer_half: bool = False,
    local_files_only: bool = False,
) -> tuple[Path, CheckpointSource]:
    """Download the files of a checkpoint that are needed and not in the local cache yet.

    A pinned commit that is in the cache is used without asking the hub. Where the hub can't be
    reached, or `HF_HUB_OFFLINE` is set, a complete copy in the cache is used.

    Args:
        source: of kind `hub`.
        revision: commit, tag or branch, in place of the source's.
        prefer_half: take weights published in half precision over the full ones.
        local_files_only: don't ask the hub.

    Returns:
        The local folder, and the source with the commit that it holds.

    Raises:
        CheckpointError: the repository, revision or a file doesn't exist or is not accessible, the
            download broke off, or the disk is full.
    """

    def choose(names: list[str]) -> list[str]:
        return needed_files(names, prefer_half=prefer_half, where=source.location)

    wanted = revision or source.revision
    folder, commit = _download(source.location, wanted, choose, local_files_only)
    if wanted != commit:
        logger.warning(
            "%s is not pinned: %s is commit %s today; name %s@%s to stay with it",
            source.location,
            wanted or "its default branch",
            commit,
            source.location,
            commit,
        )
    return folder, dataclasses.replace(source, revision=commit)


def fetch_clip_tokenizer(*, local_files_only: bool = False) -> Path:
    """Download the tokenizer of Stable Diffusion 1.x, or find it in the local cache.

    Returns:
        The local folder with its files.

    Raises:
        CheckpointError: it is not in the cache and the hub can't be reached.
    """

    def choose(names: list[str]) -> list[str]:
        return [name for name in names if name in TOKENIZER_NAMES]

    return _download(CLIP_ID, CLIP_COMMIT, choose, local_files_only)[0]


def _download(
    name: str,
    wanted: str | None,
    choose: Callable[[list[str]], list[str]],
    local_files_only: bool,
) -> tuple[Path, str]:
    """The local folder of a repository with the chosen files in it, and its commit."""
    try:
        commit, names, online = _listing(name, wanted, local_files_only)
        folder = snapshot_download(
            name,
            revision=commit,
            allow_patterns=[glob.escape(chosen) for chosen in choose(names)],
            local_files_only=not online,
        )
    except _CLIENT_ERRORS as error:
        raise _explained(error, name, wanted) from error
    return Path(folder), commit


def _listing(name: str, wanted: str | None, local_files_only: bool) -> tuple[str, list[str], bool]:
    """The commit of a revision, all file names in it, and whether the hub may be asked for them."""
    if wanted is not None and _COMMIT.fullmatch(wanted):
        try:
            return wanted, _cached_names(name, wanted), not local_files_only
        except CachedRepoTreeNotFoundError:
            pass
    unreachable: Exception | None = None
    if not local_files_only:
        try:
            info = HfApi().model_info(name, revision=wanted, timeout=REQUEST_TIMEOUT_S)
            HfApi().resolve_revision(name, revision=wanted)  # notes it, for times without the hub
            return str(info.sha), [file.rfilename for file in info.siblings or []], True
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            unreachable = error
        except (HTTPError, OfflineModeIsEnabled) as error:
            unreachable = error
    try:
        commit = HfApi().resolve_revision(name, revision=wanted, local_files_only=True).resolved
        try:
            return commit, _cached_names(name, commit), False
        except CachedRepoTreeNotFoundError:  # older clients kept no list of the files
            folder = Path(snapshot_download(name, revision=commit, local_files_only=True))
            paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
            return commit, [path.as_posix() for path in paths], False
    except (RevisionResolutionError, OSError) as error:
        if unreachable is None:
            raise
        raise unreachable from error


def _cached_names(name: str, commit: str) -> list[str]:
    """All file names of a commit, from the list that the last download of it kept."""
    return [file.path for file in get_cached_repo_tree(name, revision=commit)]


def _explained(error: Exception, name: str, wanted: str | None) -> CheckpointError:
    """What an error of the hub's client means for the user, and the remedy."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    match error:
        case GatedRepoError():
            rule = "is not open to all; accept its terms on the hub and set HF_TOKEN to your token"
        case RepositoryNotFoundError():
            rule = (
                "is neither a folder here nor public on the hub; check the spelling, and set "
                "HF_TOKEN if it is private"
            )
        case RevisionNotFoundError():
            rule = "is not a revision that the hub has; give a commit, tag or branch of it"
        case HfHubHTTPError() if status in (401, 403):
            rule = f"was refused by the hub with {status}; set HF_TOKEN to a token that may read it"
        case HfHubHTTPError() if status == 404:
            rule = f"lacks a file that the hub lists ({first_line(error)}); try another revision"
        case HfHubHTTPError():
            rule = f"can't be had, the hub answered {status}; try later or name a local folder"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() | RevisionResolutionError():
            rule = (
                f"is not complete in the local cache and the hub is not asked or not reached "
                f"({first_line(error.__cause__ or error)}); connect and unset HF_HUB_OFFLINE, or "
                "name a local folder"
            )
        case HFValidationError():
            rule = f"is not a hub id ({first_line(error)}); it looks like owner/name"
        case HTTPError():
            rule = (
                f"can't be had, the connection to the hub failed ({first_line(error)}); check the "
                "network, or name a local folder"
            )
        case OSError(errno=int()):
            rule = (
                f"can't be written to the local cache ({error.strerror}); free some disk space, or "
                "set HF_HOME to a folder with more"
            )
        case OSError():
            rule = f"came incomplete ({first_line(error)}); run it again to go on"
        case _:
            rule = f"got an answer that is not the hub's ({first_line(error)}); check HF_ENDPOINT"
    return CheckpointError(f"checkpoint {f'{name}@{wanted}' if wanted else name} {rule}")
