"""One torch thread a test process: the models are tiny, and the machine may be shared.

For the same reason no test has a time limit, but for the one that ends it when it hangs.
"""

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")
