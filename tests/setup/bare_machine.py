"""A machine with only the programs that a test gives it."""

import shutil
import subprocess
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
USUAL = ("bash", "cat", "dirname", "env", "find", "head", "make", "sh", "sort", "timeout", "touch")
"""What every machine has, and nothing that the web app needs."""


class Machine:
    """A copy of the build files, and a PATH with just what a test puts there."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "clone"
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        for name in USUAL:
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        (self.root / "web/src").mkdir(parents=True)
        (self.root / "web/public").mkdir()
        shutil.copy(ROOT / "Makefile", self.root)
        for name in (
            "index.html", "about.html", "package.json", "package-lock.json", "tsconfig.json",
            "vite.config.ts", ".npmrc",
        ):  # fmt: skip
            shutil.copy(ROOT / "web" / name, self.root / "web")
        self.has("id", "echo 1000")

    def has(self, name: str, script: str) -> None:
        """Let it have a command."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has_node(self, version: str = "v20.1.0", npm: str = "") -> None:
        """Let it have Node and npm; `npm` runs in the web app's directory, its arguments in $*."""
        self.has("node", f"echo {version}")
        self.has("npm", f'echo "npm $*"\n{npm}\ncase $1 in ci) mkdir -p node_modules;; esac')
        (self.bin / "mkdir").symlink_to(shutil.which("mkdir") or "")

    def run(self, *command: str, **variables: str) -> tuple[int, str]:
        """Exit status and all that is printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={"PATH": str(self.bin), "HOME": str(self.root), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.returncode, done.stdout

    def test_web(self, **variables: str) -> tuple[int, str]:
        return self.run("scripts/test_web.sh", **variables)
