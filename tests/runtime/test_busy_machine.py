"""With another busy process on each core, OpenMP threads must not spin for long while they wait.

Processor time is compared, not wall-clock time: it hardly depends on how busy the machine is.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from riffusion.runtime.processors import num_usable_cpus

_STEPS = """
import sys
import time
import riffusion
import torch
from riffusion.diffusion import RiffusionPipeline
torch.set_grad_enabled(False)
pipeline = RiffusionPipeline.from_pretrained("data/demo-checkpoint", device="cpu")
config = pipeline.unet.config
latents = torch.zeros(2, config.in_channels, config.sample_size, config.sample_size)
text = torch.zeros(2, 77, config.cross_attention_dim)
def processor_seconds(threads):
    torch.set_num_threads(threads)
    pipeline.unet(latents, 1, text)
    started = time.process_time()
    for _ in range(10):
        pipeline.unet(latents, 1, text)
    return time.process_time() - started
print("ready", flush=True)
sys.stdin.readline()  # the others are busy then
print(processor_seconds(1), processor_seconds(2))
"""
"""Processor time of UNet calls with one OpenMP thread, and with two."""


@contextmanager
def busy_processes() -> Iterator[None]:
    spin = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(spin) for _ in range(num_usable_cpus())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(**variables: str) -> dict[str, str]:
    own = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    return {name: value for name, value in os.environ.items() if name not in own} | variables


def test_steps_beside_busy_processes_waste_little() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _STEPS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    with busy_processes():
        output, _ = process.communicate("\n")
    alone, with_team = map(float, output.split())
    assert with_team < 3 * alone  # with OpenMP's default 3 to 6


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "3000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_user_settings_are_kept(variables: dict[str, str], expected: str) -> None:
    program = "import os, riffusion; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", program]
    found = subprocess.check_output(command, env=environment(**variables), text=True)
    assert found.strip() == expected
