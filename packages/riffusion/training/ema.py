"""Averaged weights, which are validated, sampled and exported in place of the latest ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file


class ExponentialMovingAverage(EMAModel):  # type: ignore[misc] # diffusers is untyped
    """An exponential moving average of weights, over few of them at first.

    At step s the decay is 1 - s^-0.75, and at most `decay`: 0.999 after 10,000 steps.

    Args:
        parameters: that are averaged.
        decay: towards which it rises.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        super().__init__(parameters, decay=decay, use_ema_warmup=True, power=0.75)

    def save(self, path: Path) -> None:
        """Write the averages, and how many steps they are over, as safetensors."""
        averages = {f"{index:05}": average for index, average in enumerate(self.shadow_params)}
        save_file(averages, path, metadata={"steps": str(self.optimization_step)})

    def load(self, path: Path) -> None:
        """Take the averages of a file, to where these ones are."""
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
            if len(names) != len(self.shadow_params):
                raise ValueError(f"{path} averages {len(names)} weights, not this run's")
            for average, name in zip(self.shadow_params, names, strict=True):
                average.copy_(file.get_tensor(name))
            self.optimization_step = int(file.metadata()["steps"])

    @contextmanager
    def in_place_of(self, parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
        """The averages in the parameters while the block lasts; afterwards what was there."""
        self.store(parameters)
        self.copy_to(parameters)
        try:
            yield
        finally:
            self.restore(parameters)
