"""A command of an image on a root filesystem made of mounts, as a container has it.

Everything is read-only but /tmp. The command runs as a user without a name, home or rights, and
sees no files but the system's, Python's, and those that the image has.
"""

import pwd
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SYSTEM = ("/usr", "/etc", "/bin", "/lib", "/lib64", "/sbin")
IMAGE_ENTRY = "/app/main.py"
"""What `python3` runs in the model's image, as tests/serving/test_bundle.py checks."""
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
mkdir -p {root}/proc {root}/dev {root}/tmp {root}/var/tmp
chmod 1777 {root}/var/tmp
mount --rbind /proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
{binds} # some may be in /tmp
mount -o remount,ro {root}
cd {root}
exec chroot {root} /bin/sh -c {command}
"""


def unnamed_user() -> int:
    """The number of a user that /etc/passwd doesn't have."""
    named = {user.pw_uid for user in pwd.getpwall()}
    return next(number for number in range(61_000, 62_000) if number not in named)


@contextmanager
def contained(
    arguments: Sequence[str],
    files: Mapping[str, Path],
    directory: str,
    user: int,
    variables: Mapping[str, str],
    root: Path,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which ends with the block; its mounts end with it.

    Args:
        arguments: of Python.
        files: folders of this machine by their paths in the image.
        directory: the working directory, in the image.
        user: number of the process' user and group.
        variables: all its environment variables but PATH.
        root: a folder that doesn't exist; what the process prints is in a file `.log` beside it.
    """
    root.mkdir()
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    folders = {*SYSTEM, sys.base_prefix, sys.prefix, *libraries}
    inside = {one for one in folders for other in folders if Path(other) in Path(one).parents}
    binds = [(folder, folder) for folder in sorted(folders - inside)]
    binds += [(str(source), target) for target, source in files.items()]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **variables}
    process_command = [
        *("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", *(f"{name}={value}" for name, value in environment.items())),
        *(sys.executable, *arguments),
    ]
    command = f"cd {shlex.quote(directory)} && exec {shlex.join(process_command)}"
    script = SCRIPT.format(
        root=shlex.quote(str(root)),
        binds="\n".join(shlex.join(["read_only", *pair]) for pair in binds),
        command=shlex.quote(command),
    )
    with root.with_suffix(".log").open("wb") as output:
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
