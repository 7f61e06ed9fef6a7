import pytest

from riffusion.errors import OverloadedError
from riffusion.serving.model.concurrency_limiter import ConcurrencyLimiter


def test_slots_are_limited_and_can_be_acquired_again() -> None:
    limiter = ConcurrencyLimiter(max_running=2, max_waiting=1, seconds_until_free=lambda: 4.2)
    for _ in range(3):
        limiter.acquire()
    assert limiter.num_waiting == 1
    with pytest.raises(OverloadedError, match=r"1 requests are waiting.*try again in 5 s"):
        limiter.acquire()
    limiter.release()
    limiter.acquire()


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2)])
def test_retry_after_is_in_whole_seconds_and_at_least_1(seconds: float, expected: int) -> None:
    assert ConcurrencyLimiter(1, 0, lambda: seconds).retry_after_s() == expected
