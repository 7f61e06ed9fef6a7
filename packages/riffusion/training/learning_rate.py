"""The learning rate of a step: linear up, flat, then along a cosine towards 0."""

import math

from riffusion.training.config import OptimizerConfig


def learning_rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of a step.

    Args:
        step: counted from 0.
        steps: of the whole run.
        config: the rate of the flat part, and where that begins and ends.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    flat_until = max(config.warmup_steps, round(config.flat_share * steps))
    if step < flat_until:
        return config.learning_rate
    position = (step - flat_until) / max(1, steps - flat_until)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * position))
