"""With another busy process on each core, OpenMP threads must not spin for long while they wait.

Processor time is compared, not wall-clock time: it hardly depends on how busy the machine is.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from riffusion.runtime.processors import num_usable_cpus

_STEPS = """
import time
import riffusion
import torch
from riffusion.diffusion import RiffusionPipeline
torch.set_grad_enabled(False)
torch.set_num_threads({threads})
pipeline = RiffusionPipeline.from_pretrained("data/demo-checkpoint", device="cpu")
config = pipeline.unet.config
latents = torch.zeros(2, config.in_channels, config.sample_size, config.sample_size)
text = torch.zeros(2, 77, config.cross_attention_dim)
def steps(number):
    for _ in range(number):
        pipeline.unet(latents, 1, text)
steps(1)
started = time.process_time()
steps(20)
print(time.process_time() - started)
"""


@pytest.fixture
def busy_processes() -> Iterator[None]:
    spin = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(spin) for _ in range(num_usable_cpus())]
    yield
    for process in processes:
        process.kill()
        process.wait()


def processor_seconds(threads: int) -> float:
    """Processor time of 20 UNet calls with a number of OpenMP threads."""
    return float(output_of(_STEPS.format(threads=threads), {}))


def output_of(program: str, variables: dict[str, str]) -> str:
    own = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment | variables,
    )
    return finished.stdout


def test_steps_beside_busy_processes_waste_little(busy_processes: None) -> None:
    alone = processor_seconds(1)
    assert processor_seconds(2) < 3 * alone  # with OpenMP's default 3 to 6


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
    assert output_of(program, variables).strip() == expected
