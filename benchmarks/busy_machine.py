"""Commands beside one process that keeps a core busy: our OpenMP setting compared with the default.

    python -m benchmarks.busy_machine [--repeats 2]

Each command runs as a new process, in turn with the default of GNU's OpenMP runtime (300,000 spins
before a waiting thread sleeps) and with the setting of `riffusion/__init__.py`, idle and beside an
endless loop. Medians.
"""

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import results, signals
from riffusion.audio import segment_from_waveform, write_audio

REPEATS = 2
SAMPLE_RATE = 44_100
SONG_S = 60.0
SETTINGS = {"default": {"GOMP_SPINCOUNT": "300000"}, "ours": {}}
"""Environment variables; without any, the package sets its own."""
COMMANDS = {
    "generate": "generate piano --seed 1 -o {folder}/a.wav",
    "jam, 3 clips": "jam piano --minutes 0.25 --preset fast --seed 1 -o {folder}/c.wav",
    "image-to-audio, 60 s": "image-to-audio --image {folder}/image.png --audio {folder}/e.wav",
}
"""Commands that compute with torch; `audio-to-image` and `dataset build` use no OpenMP threads."""


@dataclasses.dataclass(frozen=True)
class BusyMachineRow:
    """One command; seconds of wall-clock time from its start to its end.

    Args:
        command: key of `COMMANDS`.
        default_idle_s, default_busy_s: with the default of OpenMP.
        ours_idle_s, ours_busy_s: with our setting.
    """

    command: str
    default_idle_s: float
    default_busy_s: float
    ours_idle_s: float
    ours_busy_s: float


def measure(repeats: int) -> list[BusyMachineRow]:
    """Run all commands in all conditions."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        _prepare(folder)
        rows = []
        for name in COMMANDS:
            rows.append(_measure(name, folder, repeats))
            print(rows[-1], flush=True)
        return rows


def _prepare(folder: Path) -> None:
    """Write what the commands read."""
    (folder / "songs").mkdir()
    song = folder / "songs" / "song.wav"
    waveform = signals.chord_loop(SAMPLE_RATE, SONG_S)[None].numpy()
    write_audio(segment_from_waveform(waveform, SAMPLE_RATE), song)
    image = folder / "image.png"
    _run(["audio-to-image", "--audio", str(song), "--image", str(image)], {})


def _measure(name: str, folder: Path, repeats: int) -> BusyMachineRow:
    seconds: dict[str, list[float]] = {}
    for number in range(repeats):
        for setting, variables in SETTINGS.items():
            for condition in ("idle", "busy"):
                new = folder / f"{name.split()[0]}-{number}-{setting}-{condition}"
                command = [word.format(folder=folder, new=new) for word in COMMANDS[name].split()]
                with _busy_process() if condition == "busy" else contextlib.nullcontext():
                    elapsed = _run(command, variables)
                seconds.setdefault(f"{setting}_{condition}_s", []).append(elapsed)
    return BusyMachineRow(name, **{key: statistics.median(runs) for key, runs in seconds.items()})


def _run(command: list[str], variables: dict[str, str]) -> float:
    """Seconds that `riffusion command` takes."""
    own = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "riffusion", *command],
        check=True,
        capture_output=True,
        env=environment | variables,
    )
    return time.perf_counter() - started


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def markdown(rows: list[BusyMachineRow]) -> str:
    """The rows as a table."""
    lines = [
        "| command | idle s: default | ours | ratio "
        "| busy s: default | ours | busy / idle: default | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.command} | {row.default_idle_s:.2f} | {row.ours_idle_s:.2f} "
        f"| {row.ours_idle_s / row.default_idle_s:.2f} "
        f"| {row.default_busy_s:.2f} | {row.ours_busy_s:.2f} "
        f"| {row.default_busy_s / row.default_idle_s:.2f}× "
        f"| **{row.ours_busy_s / row.ours_idle_s:.2f}×** |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and save the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    rows = measure(parser.parse_args().repeats)
    results.save("busy_machine", rows, markdown(rows))


if __name__ == "__main__":
    main()
