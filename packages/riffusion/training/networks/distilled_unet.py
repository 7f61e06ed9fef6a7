"""A UNet that is told the guidance scale, made from one that isn't."""

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel

GUIDANCE_WIDTH = 256
"""`time_cond_proj_dim` of published latent consistency models."""
_PROJECTION = "time_embedding.cond_proj.weight"


def told_the_guidance(unet: Any) -> Any:
    """A copy of a UNet with `time_cond_proj_dim`; it computes the same whatever it is told.

    The projection of the guidance has no bias and starts at zero. A UNet that has one is only
    copied.

    Args:
        unet: a UNet2DConditionModel, in single precision.
    """
    if unet.config.time_cond_proj_dim is not None:
        return copy.deepcopy(unet)
    # As an option: a value in a configuration that lacked the key would be dropped as a default.
    told = UNet2DConditionModel.from_config(unet.config, time_cond_proj_dim=GUIDANCE_WIDTH)
    projection = torch.zeros_like(told.time_embedding.cond_proj.weight)
    told.load_state_dict(unet.state_dict() | {_PROJECTION: projection})
    return told
