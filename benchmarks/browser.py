"""Clips that the page without a server makes in Chromium.

python -m benchmarks.browser

Builds the page (`make web-static`) and runs `npm run measure-static`. Needs Node and Chromium; the
environment variable CHROMIUM names another than /usr/bin/chromium.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import engine_table, results
from benchmarks.engine_table import Compared

ROOT = Path(__file__).parents[1]
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
PRESETS = ("instant", "fast")
STAGES = ("prepare", "diffusion", "decode", "inversion")


def is_possible() -> bool:
    """Whether this machine has what it needs."""
    return CHROMIUM.exists() and shutil.which("npm") is not None


def measure() -> dict[str, Any]:
    """What `web/e2e/engine.measure.ts` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "measured.json")
        subprocess.run(["make", "web-static"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            ["npm", "run", "measure-static"],
            cwd=ROOT / "web",
            check=True,
            env=os.environ | {"MEASURED_FILE": str(file), "CHROMIUM": str(CHROMIUM)},
        )
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def rows_of(found: Mapping[str, Any]) -> list[Compared]:
    """Rows of the table; torch has none.

    Args:
        found: of `measure`.
    """
    rows = []
    for name, measured in found.items():
        if not name.startswith("threads "):
            continue
        number = name.removeprefix("threads ")
        where = f"in Chromium {found['browser'].partition('.')[0]}, {number} thread"
        where += "" if number == "1" else "s"
        for preset in PRESETS:
            seconds = [measured[preset][stage] for stage in STAGES]
            stages = (f"{stage} {time:.2f}" for stage, time in zip(STAGES, seconds, strict=True))
            what = f"a clip, `{preset}`, {where}"
            rows.append(Compared(what, None, sum(seconds), "s", ", ".join(stages)))
        rows.append(Compared(f"loading the kept files, {where}", None, measured["load"], "s"))
    clips, megabytes = list(found["memory, MB"].items())[-1]
    rows.append(Compared(f"memory of the page and its worker after {clips}", None, megabytes, "MB"))
    return rows


def main() -> None:
    """Measure and save the result."""
    rows = rows_of(measure())
    results.save("browser", rows, engine_table.markdown(rows))


if __name__ == "__main__":
    main()
