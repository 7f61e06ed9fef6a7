"""Memory for ten minutes is not much more than for one."""

import gc
import itertools
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.diffusion import RiffusionPipeline
from riffusion.editing import extending, remaking, rendering, splicing, surroundings
from riffusion.editing.extending import extend
from riffusion.editing.regions import Region
from riffusion.editing.repainting import repaint
from riffusion.editing.splicing import spliced
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.canvas_edits import request

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


RATE = 4_000
COARSE = SpectrogramParams(
    sample_rate=RATE,
    num_frequencies=48,
    max_frequency=1_900,
    step_size_ms=80,
    window_duration_ms=200,
    padded_duration_ms=400,
    num_griffin_lim_iters=8,
)
"""As `conftest.TINY`, but at a rate at which minutes of sound are made within seconds."""


@pytest.fixture(scope="module")
def coarse(pristine: Path) -> Iterator[ClipGenerator]:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = COARSE
    generator = ClipGenerator(pipeline, SeedLibrary.default(None))
    yield generator
    generator.close()


@pytest.mark.parametrize("edit", ["repaint", "band", "extend"])
def test_new_sound_is_not_in_memory_as_a_whole(
    coarse: ClipGenerator, edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # About as many seconds at once as with the usual 100 frames and 44,100 samples per second.
    monkeypatch.setattr(rendering, "_FRAMES_AT_ONCE", 128)
    monkeypatch.setattr(surroundings, "_FRAMES_AT_ONCE", 128)
    monkeypatch.setattr(remaking, "_HELD_FRAMES", 128)
    monkeypatch.setattr(splicing, "_BLOCK", 2**14)
    monkeypatch.setattr(extending, "_SAMPLES_AT_ONCE", 2**16)
    inputs = request(guidance=1.0).model_copy(update={"num_inference_steps": 1})
    second = np.random.default_rng(0).integers(-8000, 8000, (2, RATE)).astype(np.int16)

    def peak_bytes(seconds: float) -> int:
        gc.collect()
        blocks = itertools.repeat(second, 120 + round(seconds))
        with Recording.from_blocks(blocks, RATE, 16) as recording:
            tracemalloc.start()
            if edit == "extend":
                parts = extend(recording, coarse, inputs, after_s=seconds, bar_s=2.0)
            else:
                low_hz = 400.0 if edit == "band" else None
                parts = repaint(recording, coarse, inputs, Region(9, 9 + seconds, low_hz))
            length = sum(block.shape[1] for block in spliced(recording, parts))
            peak = tracemalloc.get_traced_memory()[1]  # NumPy's arrays count, torch's don't
            tracemalloc.stop()
            longer_s = seconds if edit == "extend" else 0
            assert length == recording.num_samples + round(longer_s * RATE)
        return peak

    peak_bytes(1.0)  # imports what is needed
    short, long = peak_bytes(30.0), peak_bytes(90.0)
    if long >= MAX_RATIO * short:  # another thread of the process may have taken memory
        long = peak_bytes(90.0)
    assert long < MAX_RATIO * short
