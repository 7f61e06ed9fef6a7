"""`make fuzz`: starts the real servers, sends hostile requests and reports what went wrong.

No answer may be a 5xx but 503 and 504, or take longer than 30 s. File descriptors must not grow,
nor memory at rest after the first third. Afterwards nothing may run or wait, and the log may hold
no traceback.
"""

import argparse
import logging
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.one_of_each import Request, requests_of_each_mode
from tests.fuzz.serve_process import STOP_S, ServeProcess
from tests.fuzz.usage import MAX_FD_GROWTH, MAX_MEMORY_GROWTH

LOG = Path("build/fuzz.log")
NUM_THREADS = 4
_REST_S = 60.0
"""Time for what was cancelled to end."""
_RETURN_MEMORY_S = 12.0
"""The server returns freed memory in this time after a request. After such a pause onnxruntime's is
given back, too, when the next clip is made."""
_VALID_S = 180.0
"""Time for a valid request; librosa may have to be compiled for it."""


def main() -> int:
    """Run; return the number of faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("light", "torch"), default="light")
    options = parser.parse_args()
    logging.getLogger("riffusion").setLevel(logging.ERROR)
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    unlimited = ("--requests-per-minute", "0", "--requests-at-once", "0")
    environment = {"RIFFUSION_ENGINE": options.engine}
    with ServeProcess(LOG, *unlimited, environment=environment) as servers:
        fuzzer = Fuzzer(servers.gateway_url, servers.truss_url, options.seed)
        for request in requests_of_each_mode():  # what is loaded when it is first used isn't a leak
            _make(request, servers.gateway_url, fuzzer.faults)
        started = time.monotonic()
        fuzzer.run(options.requests // 3, NUM_THREADS)
        warm = _usage_at_rest(servers, fuzzer.faults)
        fuzzer.run(options.requests - fuzzer.num_sent, NUM_THREADS)
        seconds = time.monotonic() - started
        memory, fds = _growth(warm, _usage_at_rest(servers, fuzzer.faults))
        busy = _busy_gauges(servers.gateway_url)
        traces = re.findall(r"Traceback[\s\S]{0,1500}", servers.log_text())
    faults = fuzzer.faults + [f"in the log: {trace}" for trace in traces[:10]]
    faults += [f"still at work: {busy}"] if busy else []
    if servers.had_to_be_killed:
        faults.append(f"SIGTERM did not end the servers within {STOP_S:g} s")
    if memory > MAX_MEMORY_GROWTH:
        faults.append(f"memory at rest rose by {memory / 2**20:.0f} MiB")
    if fds > MAX_FD_GROWTH:
        faults.append(f"file descriptors at rest rose by {fds}")
    rate = fuzzer.num_sent / seconds
    lines = [f"FAULT {fault}" for fault in faults]
    lines += [
        f"{fuzzer.num_sent} requests in {seconds / 60:.1f} min ({rate:.1f} per s), seed "
        f"{options.seed}; statuses {dict(sorted(fuzzer.statuses.items()))} (0: by schemathesis)",
        f"longest answer {fuzzer.longest_s:.1f} s; at rest, since the first third, memory rose by "
        f"{memory / 2**20:.1f} MiB, file descriptors by {fds}",
        f"{len(faults)} faults; the servers' log is {LOG}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return min(len(faults), 1)


class _Usage(NamedTuple):
    """What a process holds."""

    memory_bytes: int
    num_fds: int


def _usage_at_rest(servers: ServeProcess, faults: list[str]) -> dict[int, _Usage]:
    """By process, when nothing is at work, and freed memory is returned; a refusal is a fault."""
    _busy_gauges(servers.gateway_url)
    time.sleep(_RETURN_MEMORY_S)
    clip = {"start": {"prompt": "piano", "seed": 1}, "preset": "instant"}
    _make(clip, servers.gateway_url, faults)
    time.sleep(_RETURN_MEMORY_S)
    usage = {}
    for process in servers.processes():
        with suppress(psutil.Error):  # it has just ended
            usage[process.pid] = _Usage(process.memory_info().rss, process.num_fds())
    return usage


def _make(request: Request, gateway_url: str, faults: list[str]) -> None:
    """Send a valid request; a refusal is a fault."""
    url = f"{gateway_url}/run_inference"
    try:
        answer = httpx.post(url, json=request, timeout=_VALID_S, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        faults.append(f"a valid request, {str(request)[:200]}: {error!r}")


def _growth(before: dict[int, _Usage], after: dict[int, _Usage]) -> tuple[int, int]:
    """Bytes and file descriptors that the same processes hold more.

    Decoders of audio, at most four, are started when they are needed, and again when one ends.
    """
    both = before.keys() & after.keys()
    return (
        sum(after[pid].memory_bytes - before[pid].memory_bytes for pid in both),
        sum(after[pid].num_fds - before[pid].num_fds for pid in both),
    )


def _busy_gauges(gateway_url: str) -> dict[str, float]:
    """Gauges of jobs that don't go back to zero."""
    deadline = time.monotonic() + _REST_S
    while True:
        text = httpx.get(f"{gateway_url}/metrics/", timeout=30, trust_env=False).text
        found = re.findall(r"^(riffusion_(?:live|waiting)_jobs) (\S+)", text, re.MULTILINE)
        busy = {name: float(value) for name, value in found if float(value)}
        if (found and not busy) or time.monotonic() > deadline:
            return busy if found else {"no gauges": 0.0}
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
