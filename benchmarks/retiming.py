"""How many times faster than real time recordings are listened to, retimed and looped.

    python -m benchmarks.retiming [SECONDS]

The recording is one of the project's loops, repeated for 60 s by default, in stereo at 48 kHz.
Prints the wall time and the processor time; the latter depends less on what else the machine does.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from riffusion.editing.beat_grid import find_beat_grid
from riffusion.editing.key_finding import find_key
from riffusion.editing.listening import listen
from riffusion.editing.looping import cut_out_loop
from riffusion.editing.retiming import plan_retiming, retimed
from riffusion.loops.arrangements import ARRANGEMENTS
from riffusion.loops.grid import LoopGrid
from riffusion.loops.harmony import Key
from riffusion.loops.rendering import render_loop
from riffusion.spectrogram.params import SpectrogramParams

RATE_HZ = 48_000
DEFAULT_S = 60


class Song:
    """A loop of the project's, repeated; stereo at 48 kHz."""

    sample_rate, num_channels = RATE_HZ, 2

    def __init__(self, duration_s: float) -> None:
        arrangement = ARRANGEMENTS["og_beat"]
        params = SpectrogramParams(sample_rate=RATE_HZ)
        grid = LoopGrid.fit(arrangement.beats, arrangement.tempo_bpm, params)
        mono = render_loop(arrangement, grid, Key.parse(arrangement.key))
        self._loop = np.concatenate([mono, 0.8 * mono])
        self.num_samples = round(duration_s * RATE_HZ)

    def waveform(self, start: int, stop: int, /) -> npt.NDArray[np.float32]:
        at = np.arange(start, stop) % self._loop.shape[1]
        return self._loop[:, at]


def main() -> None:
    """Measure, and print one line for each measurement."""
    duration_s = float(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_S
    song = Song(duration_s)

    def beats_and_key() -> None:
        heard = listen(song)
        find_beat_grid(heard)
        find_key(heard)

    def retime(tempo_bpm: float | None, key: str | None) -> None:
        for _ in retimed(song, plan_retiming(song, tempo_bpm=tempo_bpm, key=key)):
            pass

    works: dict[str, Callable[[], object]] = {
        "beats and key": beats_and_key,
        "retime, tempo": lambda: retime(100.0, None),
        "retime, key": lambda: retime(None, "C minor"),
        "retime, tempo and key": lambda: retime(100.0, "C minor"),
        "loop": lambda: cut_out_loop(song, tempo_bpm=100.0),
    }
    for name, work in works.items():
        wall_s, processor_s = time.perf_counter(), time.process_time()
        work()
        wall_s, processor_s = time.perf_counter() - wall_s, time.process_time() - processor_s
        print(
            f"{name:<22} {wall_s:6.2f} s, {duration_s / wall_s:4.0f}× real time; processor "
            f"{processor_s:6.2f} s, {duration_s / processor_s:4.0f}×"
        )


if __name__ == "__main__":
    main()
