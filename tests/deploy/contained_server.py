"""The command of the model's image on a root filesystem made of mounts, as a container has it.

Everything is read-only but /tmp. The server runs as a user without a name, home or rights, and sees
no files but the system's, Python's, and the image's: /app and /packages.
"""

import pwd
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from riffusion.serving.local.bundle_context import build_context

SYSTEM = ("/usr", "/etc", "/bin", "/lib", "/lib64", "/sbin")
IMAGE_ENTRY = "/app/main.py"
"""What `python3` runs in the image; tests/serving/test_bundle.py compares it with Truss' own."""

SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs {root}
read_only() {{
    if [ -L "$1" ]; then mkdir -p "$(dirname {root}"$2")"; cp -P "$1" {root}"$2"; return; fi
    [ -d "$1" ] || return 0
    mkdir -p {root}"$2"
    mount --bind "$1" {root}"$2"
    mount -o remount,bind,ro {root}"$2"
}}
{binds}
mkdir -p {root}/proc {root}/dev {root}/tmp
mount --rbind /proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -o remount,ro {root}
cd {root}
exec chroot {root} /bin/sh -c {command}
"""


def unnamed_user() -> int:
    """The number of a user that /etc/passwd doesn't have."""
    named = {user.pw_uid for user in pwd.getpwall()}
    return next(number for number in range(61_000, 62_000) if number not in named)


@contextmanager
def contained_server(
    bundle: Path, directory: Path, user: int, variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, which ends with the block; its mounts end with it.

    Args:
        bundle: the Truss bundle.
        directory: an empty directory.
        user: number of the server's user and group.
        variables: all environment variables of the server but PATH.
        log: file for what it logs.
    """
    build_context(bundle, directory)
    root = directory / "root"
    root.mkdir()
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    folders = {*SYSTEM, sys.base_prefix, sys.prefix, *libraries}
    inside = {one for one in folders for other in folders if Path(other) in Path(one).parents}
    binds = [(folder, folder) for folder in sorted(folders - inside)]
    binds += [(str(directory / "app"), "/app"), (str(directory / "context/packages"), "/packages")]
    lines = "\n".join(shlex.join(["read_only", *pair]) for pair in binds)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **variables}
    server = [
        *("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", *(f"{name}={value}" for name, value in environment.items())),
        *(sys.executable, IMAGE_ENTRY),
    ]
    command = shlex.quote(f"cd /app && exec {shlex.join(server)}")
    script = SCRIPT.format(root=shlex.quote(str(root)), binds=lines, command=command)
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
