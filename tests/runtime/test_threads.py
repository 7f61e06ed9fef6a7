"""Only the engine's thread may have an OpenMP team; threads are counted in new processes.

Python's own threads, such as those that make audio, are left out: they start no team.
"""

import subprocess
import sys

_PREPARE = """
import psutil, threading, torch
def num_threads(): return psutil.Process().num_threads() - threading.active_count()
def compute():
    rows = torch.rand(1000, 1000)
    torch.fft.rfft(rows @ rows + 1).abs().sum()
torch.set_num_threads(3)
"""


def run(program: str) -> list[int]:
    """The numbers that a Python program prints."""
    command = [sys.executable, "-c", _PREPARE + program]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in finished.stdout.split()]


def test_only_the_engine_s_thread_gets_a_team() -> None:
    """Not a single-threaded block, nor loading, analysis and synthesis."""
    counts = run(
        """
import numpy as np
from riffusion.audio import segment_from_waveform
from riffusion.generation.generator import ClipGenerator
from riffusion.datatypes import InferenceInput
from riffusion.runtime.threads import single_threaded
print(num_threads())
with single_threaded():
    compute()
print(num_threads())
generator = ClipGenerator.load("data/demo-checkpoint", device="cpu")
seconds = np.arange(2 * 44_100) / 44_100
segment = segment_from_waveform(np.sin(2 * np.pi * 440 * seconds)[None] / 2, 44_100)
print(num_threads())
generator.image_from_audio(segment)
request = {"start": {"prompt": "", "seed": 0}, "mode": "image_to_audio", "seed_image_id": "og_beat"}
resolved = generator.resolve(InferenceInput.parse(request))
generator.finish(resolved, generator.start(resolved))
print(num_threads())
compute()
print(num_threads(), torch.get_num_threads())
"""
    )
    before, single, loaded, used, with_team, size_of_team = counts
    assert single == before
    assert used == loaded
    assert with_team == used + 2
    assert size_of_team == 3
