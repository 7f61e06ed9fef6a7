"""The learning-rate schedule: linear warm-up, constant part, cosine decay towards 0."""

import math

from riffusion.training.config import OptimizerConfig


def learning_rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of a step.

    Args:
        step: the step, counted from 0.
        steps: number of steps of the whole run.
        config: learning rate, and begin and end of the constant part.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    flat_until = max(config.warmup_steps, round(config.flat_share * steps))
    if step < flat_until:
        return config.learning_rate
    position = (step - flat_until) / max(1, steps - flat_until)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * position))
