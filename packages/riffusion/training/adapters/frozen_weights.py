"""States of a run without what the run doesn't change."""

from typing import Any

from torch import nn


def keep_only_trained_weights(module: nn.Module) -> None:
    """Leave frozen parameters out of a module's state, and don't miss them when it is loaded.

    A state is for going on, and frozen weights are read from where they came from again. Of a
    low-rank update of a full-size checkpoint, a state is a hundredth then.

    Args:
        module: changed in place; which of its parameters are frozen is asked each time.
    """
    module.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]
    module.register_load_state_dict_post_hook(_forgive_frozen)  # type: ignore[no-untyped-call]


def _drop_frozen(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]
) -> None:
    del local_metadata
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            state.pop(prefix + name, None)


def _forgive_frozen(module: nn.Module, incompatible: Any) -> None:
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    incompatible.missing_keys[:] = [
        missing
        for missing in incompatible.missing_keys
        if not any(missing == name or missing.endswith(f".{name}") for name in frozen)
    ]
