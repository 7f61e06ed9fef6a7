"""Interpolation: ends, norms, and degenerate ends."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from riffusion.diffusion.interpolation import lerp, slerp

MAX_ERROR = 1e-5  # float32 arithmetic on values of about 1


def noise(seed: int) -> torch.Tensor:
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_ends_are_exact() -> None:
    assert torch.allclose(slerp(0.0, noise(1), noise(2)), noise(1), atol=MAX_ERROR)
    assert torch.allclose(slerp(1.0, noise(1), noise(2)), noise(2), atol=MAX_ERROR)
    assert (lerp(2.0, 5.0, 0.0), lerp(2.0, 5.0, 1.0)) == (2.0, 5.0)


@given(alpha=st.floats(0, 1), angle=st.floats(0.05, 3.0))
def test_on_the_unit_circle_the_angle_grows_evenly(alpha: float, angle: float) -> None:
    start = torch.tensor([1.0, 0.0])
    end = torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)
    x, y = slerp(alpha, start, end).tolist()
    assert np.arctan2(y, x) == pytest.approx(alpha * angle, abs=2e-4)
    assert np.hypot(x, y) == pytest.approx(1.0, abs=2e-4)


def test_middle_of_two_noises_keeps_unit_variance() -> None:
    middle = slerp(0.5, noise(1), noise(2))
    assert float(middle.std()) == pytest.approx(1.0, abs=0.05)
    assert float(torch.lerp(noise(1), noise(2), 0.5).std()) < 0.8  # a straight line loses variance


def test_arrays_are_interpolated_like_tensors() -> None:
    expected = slerp(0.3, noise(1), noise(2)).numpy()
    actual = slerp(0.3, noise(1).numpy(), noise(2).numpy())
    assert isinstance(actual, np.ndarray)
    assert np.array_equal(actual, expected)


class WithoutBlas(np.ndarray[Any, np.dtype[Any]]):
    """An array without matrix products, for which OpenBLAS would wake its threads."""

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        assert function is not np.matmul
        plain = [np.asarray(x) if isinstance(x, WithoutBlas) else x for x in inputs]
        return np.asarray(getattr(function, method)(*plain, **options)).view(WithoutBlas)


def test_no_matrix_products_beside_the_networks() -> None:
    start, end = noise(1).numpy(), noise(2).numpy()
    watched = slerp(0.3, start.view(WithoutBlas), end.view(WithoutBlas))
    assert isinstance(watched, WithoutBlas)
    assert np.array_equal(watched, slerp(0.3, start, end))
    with pytest.raises(AssertionError):
        start.view(WithoutBlas) @ end


@pytest.mark.parametrize(
    ("start", "end"),
    [(noise(1), noise(1)), (noise(1), -noise(1)), (torch.zeros(4), torch.ones(4))],
    ids=["equal", "opposite", "zero"],
)
def test_degenerate_ends_are_interpolated_linearly(start: torch.Tensor, end: torch.Tensor) -> None:
    assert torch.allclose(slerp(0.25, start, end), torch.lerp(start, end, 0.25), atol=MAX_ERROR)
