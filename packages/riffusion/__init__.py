"""Riffusion: from text and spectrogram images to music.

GNU's OpenMP runtime, which torch's wheels for Linux contain, lets threads that wait spin 300,000
times before they sleep. If another process needs their core, the thread that they wait for can't
run meanwhile, and everything takes several times as long (`benchmarks/busy_machine.py`). So this
package sets a shorter spin where the user sets nothing. OpenMP reads the setting when torch is
loaded: in your own programs, import `riffusion` before torch.
"""

import os

__version__ = "0.1.0"

_SPINS_BEFORE_SLEEP = "3000"  # 0 slows an idle machine by a third, 10,000 a busy one threefold

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = _SPINS_BEFORE_SLEEP
