"""Leaves frozen weights out of training states."""

from typing import Any

from torch import nn


def keep_only_trained_weights(module: nn.Module) -> None:
    """Leave frozen parameters out of a module's state dict, and allow loading it without them.

    A resumed run reads frozen weights from their checkpoint again. For LoRA of a full-size
    checkpoint, this makes a state a hundred times smaller.

    Args:
        module: changed in place; its parameters are checked at each save and load.
    """
    module.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(_allow_missing_frozen)  # type: ignore[no-untyped-call]


def _drop_frozen(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]
) -> None:
    del local_metadata
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            state.pop(prefix + name, None)


def _allow_missing_frozen(module: nn.Module, incompatible: Any) -> None:
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    incompatible.missing_keys[:] = [
        missing
        for missing in incompatible.missing_keys
        if not any(missing == name or missing.endswith(f".{name}") for name in frozen)
    ]
