"""`make fuzz`: starts the real servers, sends hostile requests and reports what went wrong.

No answer may be a 5xx but 503 and 504, or take longer than 30 s; memory and file descriptors must
not grow; afterwards nothing may run or wait, and the log may hold no traceback.
"""

import argparse
import logging
import re
import sys
import time
from pathlib import Path

import httpx

from tests.fuzz.fuzzer import Fuzzer
from tests.fuzz.serve_process import STOP_S, ServeProcess
from tests.fuzz.usage import MAX_FD_GROWTH, MAX_MEMORY_GROWTH, UsageSampler

LOG = Path("build/fuzz.log")
NUM_THREADS = 4
_REST_S = 60.0
"""Time for what was cancelled to end."""


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
        fuzzer = Fuzzer(servers.gateway_url, servers.truss_url)
        started = time.monotonic()
        with UsageSampler(servers.processes) as usage:
            fuzzer.run(options.requests, options.seed, NUM_THREADS)
        seconds = time.monotonic() - started
        busy = _busy_gauges(servers.gateway_url)
        memory, fds = usage.growth()
        traces = re.findall(r"Traceback[\s\S]{0,1500}", servers.log_text())
    faults = fuzzer.faults + [f"in the log: {trace}" for trace in traces[:10]]
    faults += [f"still at work: {busy}"] if busy else []
    if servers.had_to_be_killed:
        faults.append(f"SIGTERM did not end the servers within {STOP_S:g} s")
    if memory > MAX_MEMORY_GROWTH:
        faults.append(f"memory rose by {memory / 2**20:.0f} MiB")
    if fds > MAX_FD_GROWTH:
        faults.append(f"file descriptors rose by {fds:.1f}")
    rate = fuzzer.num_sent / seconds
    lines = [f"FAULT {fault}" for fault in faults]
    lines += [
        f"{fuzzer.num_sent} requests in {seconds / 60:.1f} min ({rate:.1f} per s), seed "
        f"{options.seed}; statuses {dict(sorted(fuzzer.statuses.items()))} (0: by schemathesis)",
        f"longest answer {fuzzer.longest_s:.1f} s; memory rose by {memory / 2**20:.1f} MiB, file "
        f"descriptors by {fds:.1f}, over {len(usage.samples)} samples",
        f"{len(faults)} faults; the servers' log is {LOG}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return min(len(faults), 1)


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
