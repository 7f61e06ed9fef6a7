"""One torch thread a test process: the models are tiny, and the machine may be shared.

For the same reason no test has a time limit, but for the one that ends it when it hangs.
"""

import signal

import torch
from hypothesis import HealthCheck, settings

# A shell that starts pytest in the background has Ctrl-C ignored, here and in the servers and
# commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")
