"""Runs whose weights are sharded over processes (FSDP): what they leave out, and whole weights.

With FSDP2 (Zhao et al. 2023, "PyTorch FSDP"; `torch.distributed.fsdp.fully_shard`), each process
holds a part of every weight, of its gradient and of AdamW's moments. All processes take part
whenever whole weights are used. Validation and samples, which the main process makes alone, would
wait for the others forever, so such a run has none.
"""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor

from riffusion.errors import InputError
from riffusion.training.config import TrainingConfig


def is_sharded_run(accelerator: Accelerator) -> bool:
    """Whether `accelerate launch --use_fsdp` started this process."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def check_sharded_run(config: TrainingConfig, fsdp_version: int = 2) -> None:
    """Check that a run does nothing that sharded weights can't.

    Args:
        config: the run's configuration.
        fsdp_version: the version that `accelerate launch` was given; 1 is its default.

    Raises:
        InputError: it isn't version 2, or an option must be 0.
    """
    if fsdp_version != 2:  # version 1 flattens the weights, so they could not be exported
        raise InputError(
            f"fsdp_version={fsdp_version} must be 2; launch with --fsdp_version 2, or set it in "
            "the configuration of accelerate"
        )
    for name in ("ema_decay", "validate_every", "sample_every"):
        if value := getattr(config.run, name):
            raise InputError(
                f"run.{name}={value} must be 0 where weights are sharded (FSDP); set it, or launch "
                "without --use_fsdp"
            )


def whole_weights(module: nn.Module, keep: bool = True) -> dict[str, torch.Tensor]:
    """All weights of a module on the CPU. Must be called in every process.

    Args:
        module: sharded or not.
        keep: whether this process needs them; if not, the result is empty and takes no memory.
    """
    found = {}
    for name, weight in module.named_parameters():
        whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if keep:
            found[name] = whole.detach().cpu()
    return found


@torch.no_grad()
def load_whole_weights(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Replace all weights of a module that isn't sharded.

    Args:
        module: the module.
        weights: from `whole_weights` of a module of the same shape.
    """
    for name, weight in module.named_parameters():
        weight.copy_(weights[name])
