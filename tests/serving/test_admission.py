import asyncio

import pytest

from riffusion.serving.admission import AdmissionGate, OverloadedError


def test_places_are_bounded_and_can_be_taken_again() -> None:
    gate = AdmissionGate(max_running=2, max_waiting=1, usual_s=5)
    for _ in range(3):
        gate.take_place()
    assert gate.num_waiting == 1
    with pytest.raises(OverloadedError, match=r"1 requests are waiting.*try again in 5 s"):
        gate.take_place()
    gate.leave_place()
    gate.take_place()


def test_turns_come_first_come_first_served_and_never_too_many_at_once() -> None:
    num_jobs, max_running = 7, 2
    order: list[int] = []
    running = 0
    most = 0

    async def job(gate: AdmissionGate, number: int) -> None:
        nonlocal running, most
        async with gate.running():
            order.append(number)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async def run_all() -> None:
        gate = AdmissionGate(max_running, max_waiting=num_jobs, usual_s=1)
        await asyncio.gather(*(job(gate, number) for number in range(num_jobs)))

    asyncio.run(run_all())
    assert order == list(range(num_jobs))
    assert most == max_running


def test_retry_after_follows_the_durations_and_the_running_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("riffusion.serving.admission.time.monotonic", lambda: now)

    async def scenario() -> list[int]:
        nonlocal now
        gate = AdmissionGate(max_running=1, max_waiting=0, usual_s=5)
        seen = [gate.retry_after_s()]
        for _ in range(40):  # the moving average settles at 20 s
            async with gate.running():
                now += 20
        seen.append(gate.retry_after_s())
        async with gate.running():
            now += 15  # of the usual 20 s
            seen.append(gate.retry_after_s())
            now += 100  # overdue
            seen.append(gate.retry_after_s())
        return seen

    assert asyncio.run(scenario()) == [5, 20, 5, 1]


def test_a_failed_job_frees_its_turn_and_does_not_count_as_a_duration() -> None:
    async def scenario() -> int:
        gate = AdmissionGate(max_running=1, max_waiting=0, usual_s=7)
        with pytest.raises(RuntimeError):
            async with gate.running():
                raise RuntimeError
        async with asyncio.timeout(1), gate.running():
            pass
        return gate.retry_after_s()

    assert asyncio.run(scenario()) <= 7
