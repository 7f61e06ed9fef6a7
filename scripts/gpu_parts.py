"""Carries more to a bare GPU machine than it takes at once: in parts, each in a call of its own.

    python scripts/gpu_parts.py split [--limit-mib 64] [--dry-run] [PATH…]     on your machine
    python scripts/gpu_parts.py join [PATH…]                                   on the GPU machine

Every call sends the repository: all files that git knows or doesn't ignore. `split` copies the
files of each ignored PATH (build/wheels and runs/demo/latents, if none is given) to
build/parts/part-1, …, so that the repository and one part together stay under the limit, and prints
what each call sends. Files aren't cut: `riffusion dataset encode` writes files of at most 10 MB.

`join` copies the files of all parts, or those under a PATH, to their places in the repository. It
checks that all parts are there, and the size and SHA-256 hash of each file. train_on_gpu.sh and
benchmark_on_gpu.sh run it first. It needs Python alone.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

PARTS = Path("build/parts")
MANIFEST_NAME = "parts.json"
DEFAULT_PATHS = ("build/wheels", "runs/demo/latents")
MIB = 2**20
RESERVE_BYTES = MIB
"""For names, the manifest, and what transport adds."""
_MOST_NAMES = 3


class PartsError(Exception):
    """What the user can mend, in one line."""


def split(paths: list[str], limit_mib: float, is_dry_run: bool) -> None:
    """Make the parts, and print what each call sends.

    Raises:
        PartsError: a path is missing, is sent with the repository anyway, or has a file that is too
            large; or the repository alone is too large.
    """
    tree = _tree()
    tree_bytes = sum(tree.values())
    room = int(limit_mib * MIB) - RESERVE_BYTES - tree_bytes
    if room <= 0:
        raise PartsError(
            f"the repository has {_mib(tree_bytes)}, which leaves no room under "
            f"--limit-mib={limit_mib:g}; raise the limit, or remove files that git doesn't ignore"
        )
    parts: list[dict[str, int]] = []
    for path in paths:
        for name, size in _files_under(path, tree):
            if size > room:
                raise PartsError(
                    f"{name} has {_mib(size)}, and a call has room for {_mib(room)} beside the "
                    f"repository; make it smaller than that"
                )
            fitting = (part for part in parts if sum(part.values()) + size <= room)
            part = next(fitting, None)
            if part is None:
                parts.append(part := {})
            part[name] = size
    _print_plan(parts, tree, limit_mib)
    if not is_dry_run:
        _write(parts)


def join(paths: list[str]) -> None:
    """Copy the files of the parts to their places, after checking that all are there.

    Raises:
        PartsError: a part is missing, or a file is missing, truncated, damaged or of another split.
    """
    manifest = _manifest()
    if manifest is None:
        return
    chosen = {
        name: {file: facts for file, facts in files.items() if _is_under(file, paths)}
        for name, files in manifest.items()
    }
    waiting = {
        name: missing
        for name, files in chosen.items()
        if (missing := {f: facts for f, facts in files.items() if not _is_in_place(f, facts)})
    }
    for name, files in waiting.items():
        if not (PARTS / name).is_dir():
            raise PartsError(
                f"{PARTS / name} is missing, which holds {_names(list(files))}; carry it to this "
                "machine in a call of its own, then run this again"
            )
    for name, files in waiting.items():
        for file, facts in files.items():
            _check(PARTS / name / file, facts, name)
    for name, files in waiting.items():
        for file in files:
            target = Path(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.tmp")
            shutil.copyfile(PARTS / name / file, temporary)
            temporary.replace(target)
    num_files = sum(map(len, waiting.values()))
    if num_files:
        print(f"joined {num_files} files of {len(waiting)} parts", flush=True)


def _tree() -> dict[str, int]:
    """The files that every call sends, with their sizes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise PartsError(f"git ls-files fails ({error}); run this in a git checkout") from error
    names = [name for name in found.split("\0") if name]
    return {name: Path(name).lstat().st_size for name in names if Path(name).is_file()}


def _files_under(path: str, tree: dict[str, int]) -> list[tuple[str, int]]:
    """Files at a path with their sizes, the largest first."""
    root = Path(path)
    if root.is_absolute() or ".." in root.parts:
        raise PartsError(f"path={path!r} must be inside the repository; copy it there")
    if not root.exists():
        raise PartsError(
            f"path={path!r} does not exist; scripts/collect_wheels.sh makes build/wheels, and "
            "riffusion dataset encode makes a folder of latents"
        )
    files = [file for file in (root, *sorted(root.rglob("*"))) if file.is_file()]
    found = {file.as_posix(): file.stat().st_size for file in files}
    sent = next((name for name in found if name in tree), None)
    if sent is not None:
        raise PartsError(f"{sent} is sent with the repository anyway; name ignored paths")
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _print_plan(parts: list[dict[str, int]], tree: dict[str, int], limit_mib: float) -> None:
    tree_bytes = sum(tree.values())
    print(f"the repository: {_mib(tree_bytes)} in {len(tree)} files, sent by every call")
    for number, part in enumerate(parts, start=1):
        whole = tree_bytes + sum(part.values())
        print(
            f"call {number}: {_mib(whole)} with {PARTS}/part-{number}, {_mib(sum(part.values()))}: "
            f"{_names(list(part))}"
        )
    total = sum(sum(part.values()) for part in parts)
    print(f"{len(parts)} calls carry {_mib(total)}, each under {limit_mib:g} MiB")


def _write(parts: list[dict[str, int]]) -> None:
    """Copy the files into new folders of parts."""
    shutil.rmtree(PARTS, ignore_errors=True)
    manifest: dict[str, dict[str, dict[str, Any]]] = {}
    for number, part in enumerate(parts, start=1):
        files = manifest[f"part-{number}"] = {}
        for name in part:
            target = PARTS / f"part-{number}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target)
            files[name] = {"bytes": target.stat().st_size, "sha256": _sha256(target)}
    text = json.dumps(manifest, indent=1) + "\n"
    for number in range(1, len(parts) + 1):
        (PARTS / f"part-{number}" / MANIFEST_NAME).write_text(text)


def _manifest() -> dict[str, dict[str, dict[str, Any]]] | None:
    """The manifest, of which each part has a copy; None if there are no parts."""
    paths = sorted(PARTS.glob(f"part-*/{MANIFEST_NAME}"))
    texts = {path: path.read_text() for path in paths}
    if not texts:
        return None
    for path, text in texts.items():
        if text != texts[paths[0]]:
            raise PartsError(
                f"{path.parent} and {paths[0].parent} are of different splits; carry all parts of "
                "the newest one again"
            )
    try:
        manifest: dict[str, dict[str, dict[str, Any]]] = json.loads(texts[paths[0]])
        names = [PurePosixPath(part, file) for part, files in manifest.items() for file in files]
    except (ValueError, AttributeError) as error:
        raise PartsError(f"{paths[0]} is damaged ({error}); carry its part again") from error
    for name in names:
        if name.is_absolute() or ".." in name.parts:
            raise PartsError(f"{paths[0]}: {name} is outside of the repository; split again")
    return manifest


def _is_under(file: str, paths: list[str]) -> bool:
    return not paths or any(PurePosixPath(file).is_relative_to(path) for path in paths)


def _is_in_place(file: str, facts: dict[str, Any]) -> bool:
    path = Path(file)
    return (
        path.is_file()
        and path.stat().st_size == facts["bytes"]
        and _sha256(path) == facts["sha256"]
    )


def _check(path: Path, facts: dict[str, Any], part: str) -> None:
    remedy = f"carry {PARTS / part} again"
    if not path.is_file():
        raise PartsError(f"{path} is missing; {remedy}")
    size = path.stat().st_size
    if size != facts["bytes"]:
        raise PartsError(f"{path} has {size} bytes instead of {facts['bytes']}; {remedy}")
    if _sha256(path) != facts["sha256"]:
        raise PartsError(f"{path} has another SHA-256 hash than {MANIFEST_NAME} says; {remedy}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / MIB:.1f} MiB"


def _names(files: list[str]) -> str:
    rest = len(files) - _MOST_NAMES
    return ", ".join(files[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit status 2 if the user has to do something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    splitter = commands.add_parser("split", help="make the parts")
    splitter.add_argument("--limit-mib", type=float, default=64.0, help="most that a call sends")
    splitter.add_argument("--dry-run", action="store_true", help="print the sizes alone")
    splitter.add_argument("paths", nargs="*", default=list(DEFAULT_PATHS))
    joiner = commands.add_parser("join", help="copy the files of the parts to their places")
    joiner.add_argument("paths", nargs="*", default=[])
    options = parser.parse_args(arguments)
    try:
        if options.command == "split":
            split(options.paths, options.limit_mib, options.dry_run)
        else:
            join(options.paths)
    except PartsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
