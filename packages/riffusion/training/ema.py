"""Exponential moving average (EMA) of the weights, used for validation, samples and export."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file


class ExponentialMovingAverage(EMAModel):  # type: ignore[misc] # diffusers is untyped
    """Exponential moving average of weights whose decay rises during training.

    At step s the decay is min(1 - s^-0.75, `decay`); 1 - s^-0.75 reaches 0.999 after 10,000 steps.

    Args:
        parameters: the weights to average.
        decay: the highest decay.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        is_cuda = parameters[0].is_cuda  # where one launch for all weights is much faster
        super().__init__(parameters, decay=decay, use_ema_warmup=True, power=0.75, foreach=is_cuda)

    def save(self, path: Path) -> None:
        """Write the averages and the number of steps as safetensors."""
        averages = {f"{index:05}": average for index, average in enumerate(self.shadow_params)}
        save_file(averages, path, metadata={"steps": str(self.optimization_step)})

    def load(self, path: Path) -> None:
        """Read averages that `save` wrote, onto the present devices.

        Raises:
            ValueError: the file has another number of weights.
        """
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
            if len(names) != len(self.shadow_params):
                raise ValueError(
                    f"{path} averages {len(names)} weights, this run has {len(self.shadow_params)}"
                )
            for average, name in zip(self.shadow_params, names, strict=True):
                average.copy_(file.get_tensor(name))
            self.optimization_step = int(file.metadata()["steps"])

    @contextmanager
    def applied_to(self, parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
        """Replace the parameters by their averages within the block, and restore them after it."""
        self.store(parameters)
        self.copy_to(parameters)
        try:
            yield
        finally:
            self.restore(parameters)
