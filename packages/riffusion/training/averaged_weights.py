"""Averaged weights, which are validated, sampled and exported in place of the latest ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel


class AveragedWeights(EMAModel):  # type: ignore[misc] # diffusers is untyped
    """An exponential moving average of weights, over few of them at first.

    At step s the decay is 1 - s^-0.75, and at most `decay`: 0.999 after 10,000 steps.

    Args:
        parameters: that are averaged.
        decay: towards which it rises.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        super().__init__(parameters, decay=decay, use_ema_warmup=True, power=0.75)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state's averages, to where these ones are: states are read to the CPU."""
        device = self.shadow_params[0].device
        super().load_state_dict(state_dict)
        self.to(device)

    @contextmanager
    def in_place_of(self, parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
        """The averages in the parameters while the block lasts; afterwards what was there."""
        self.store(parameters)
        self.copy_to(parameters)
        try:
            yield
        finally:
            self.restore(parameters)
