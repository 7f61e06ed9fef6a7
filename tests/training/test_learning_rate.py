"""The learning rate by step."""

import itertools
import math

import pytest

from riffusion.training.config import OptimizerConfig
from riffusion.training.learning_rate import learning_rate_at


def test_the_learning_rate_rises_stays_constant_and_falls() -> None:
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=10, flat_share=0.5)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9:50] == pytest.approx([0.1] * 41)
    assert rates[75] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert all(earlier >= later for earlier, later in itertools.pairwise(rates[50:]))
    assert 0 < rates[-1] < 1e-3
