"""The normal numbers of PyTorch's CPU generator, in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from riffusion.diffusion.random_numbers import TwisterNumbers
from riffusion.diffusion.torch_random import generator_from_seed

TOLERANCE = 2e-6
"""PyTorch's vector instructions round logarithm and sine otherwise, by up to 1.7e-6."""
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 12345678901234567, 2**63 - 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_torch_for_each_shape(seed: int) -> None:
    for shape in [(1,), (15,), (16,), (17,), (31,), (33,), (1, 4, 64, 64), (1, 16, 32, 33), (3, 5)]:
        expected = torch.randn(shape, generator=generator_from_seed(seed)).numpy()
        found = TwisterNumbers(seed).normal(shape)
        assert found.shape == shape and found.dtype == np.float32
        assert np.abs(found - expected).max() <= TOLERANCE


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.integers(0, 40) | st.integers(600, 700), min_size=2, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_successive_draws_continue_one_stream(seed: int, sizes: list[int]) -> None:
    generator, numbers = generator_from_seed(seed), TwisterNumbers(seed)
    for size in sizes:
        expected = torch.randn(size, generator=generator).numpy()
        assert np.abs(numbers.normal((size,)) - expected).max(initial=0) <= TOLERANCE
