"""Memory for ten minutes is not much more than for one: measured in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAX_RATIO = 1.3
"""Ratio of the whole process's peaks for ten minutes and one."""
TIMEOUT_S = 1200
PROGRAM = """
import sys
import numpy as np
from riffusion.editing.looping import cut_out_loop
from riffusion.editing.retiming import plan_retiming, retimed
from tests.editing.signals import BREAK, drum_track, steady_beats

class Repeated:
    '''A bar that repeats for as long as it takes; nothing else is in memory.'''
    sample_rate, num_channels = 22_050, 1
    def __init__(self, seconds):
        self.num_samples = seconds * self.sample_rate
        self.bar = drum_track(BREAK, steady_beats(120, 2), 2, sample_rate=self.sample_rate)
    def waveform(self, start, stop):
        return self.bar[:, np.arange(start, stop) % self.bar.shape[1]]

recording = Repeated(int(sys.argv[2]))
if sys.argv[1] == "loop":
    assert cut_out_loop(recording, tempo_bpm=110.0).waveform.shape[1] == round(480 / 110 * 22_050)
else:
    plan = plan_retiming(recording, tempo_bpm=132.0)
    length = sum(part.shape[1] for part in retimed(recording, plan))
    assert length == round(recording.num_samples * plan.length)
    assert abs(plan.beats.tempo_bpm / 120 - 1) < 0.001
status = open("/proc/self/status").read()
print(status.split("VmHWM:")[1].split()[0])  # ru_maxrss would include the parent process
"""

DRAWING = """
import itertools, sys
import numpy as np
from riffusion.audio import Recording
from riffusion.diffusion import RiffusionPipeline
from riffusion.editing.extending import extend
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.splicing import spliced
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from tests.editing.conftest import TINY
from tests.editing.test_canvas_edits import request

rate = 22_050
pipeline = RiffusionPipeline.from_pretrained(sys.argv[1], device="cpu")
pipeline.spectrogram_params = TINY
generator = ClipGenerator(pipeline, SeedLibrary.default(None))
second = np.random.default_rng(0).integers(-8000, 8000, (2, rate)).astype(np.int16)
recording = Recording.from_blocks(itertools.repeat(second, 620), rate, 16)
edits = {
    "repaint": lambda seconds: repaint(recording, generator, request(), Region(9, 9 + seconds)),
    "band": lambda seconds: repaint(
        recording, generator, request(), Region(9, 9 + seconds, 400, 4000)
    ),
    "extend": lambda seconds: extend(recording, generator, request(), after_s=seconds, bar_s=2.0),
}
for seconds in (60.0, 600.0):
    for name, edit in edits.items():
        length = sum(block.shape[1] for block in spliced(recording, edit(seconds)))
        assert length == round((620 + (seconds if name == "extend" else 0)) * rate)
        status = open("/proc/self/status").read()
        print(status.split("VmHWM:")[1].split()[0])
generator.close()
"""


def output_of(program: str, *arguments: object) -> list[int]:
    path = os.pathsep.join([str(REPOSITORY / "packages"), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("command", ["retime", "loop"])
def test_memory_does_not_grow_with_the_recording(command: str) -> None:
    (long,), (short,) = (output_of(PROGRAM, command, seconds) for seconds in (600, 60))
    assert long < MAX_RATIO * short


def test_memory_does_not_grow_with_what_is_made(pristine: Path) -> None:
    """One process, since starting one takes seconds: its peak so far, after each edit."""
    peaks = output_of(DRAWING, pristine)
    assert max(peaks[3:]) < MAX_RATIO * peaks[0], peaks
