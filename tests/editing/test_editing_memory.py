"""Memory for ten minutes is not much more than for one: measured in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAX_RATIO = 1.5
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


def peak_kib(command: str, seconds: int) -> int:
    path = os.pathsep.join([str(REPOSITORY / "packages"), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, command, str(seconds)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("command", ["retime", "loop"])
def test_memory_does_not_grow_with_the_recording(command: str) -> None:
    assert peak_kib(command, 600) < MAX_RATIO * peak_kib(command, 60)
