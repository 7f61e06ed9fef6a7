"""Runs all actors and all trouble for some time, then judges what is left."""

import contextlib
import random
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from riffusion.generation.jam import TAKE_OVER_S
from tests.fuzz.serve_process import STOP_S, ServeProcess
from tests.fuzz.usage import MAX_FD_GROWTH, MAX_MEMORY_GROWTH, UsageSampler
from tests.soak.actors import ACTORS, Caller, Solo, key
from tests.soak.jam import Jam
from tests.soak.requests import clips, edits, jam_stop
from tests.soak.trouble import MAX_RESTART_S, Troubles
from tests.soak.verdicts import Book

_REST_S = 90.0
"""Time for what was cancelled to end, and for gauges to go back to zero."""
_LONG_MINUTES = 10.0
"""From this length on, memory and file descriptors are judged; before, caches still fill."""
_NUM_SOLO_JAM = 12


@dataclass(frozen=True)
class Plan:
    """How long and how hard.

    Attributes:
        minutes: length of the part with trouble.
        seed: of everything that is random.
        engine: of the server, light or torch.
        trouble_s: mean time between two troubles.
        disk_s: how long the disk stays full.
        is_timed: whether a slow restart is a fault; not on machines that are busy otherwise.
        pause: factor of the actors' pauses; above 1 it leaves the processors to others.
    """

    minutes: float
    seed: int = 0
    engine: str = "light"
    trouble_s: float = 30.0
    disk_s: float = 5.0
    is_timed: bool = True
    pause: float = 1.0


def soak(plan: Plan, folder: Path) -> tuple[Book, str]:
    """Run a soak; the faults, and a report with figures.

    Args:
        plan: how long and how hard.
        folder: for logs and temporary files; empty.
    """
    noise = random.Random(plan.seed)
    troubles = Troubles(folder)
    book = Book(troubles)
    servers = ServeProcess(
        folder / "servers.log",
        *("--trusted-proxy", "127.0.0.1"),
        environment={"RIFFUSION_ENGINE": plan.engine, **troubles.environment},
        prefix=troubles.prefix,
    )
    with servers, contextlib.ExitStack() as callers:
        solo = _solo(servers, book)
        stop = threading.Event()
        listener = callers.enter_context(Caller(servers.gateway_url, "10.0.0.1"))
        jam = Jam(listener, book, stop, plan.seed)
        threads = [threading.Thread(target=jam.run, daemon=True)]
        for number, (name, (kind, pause_s)) in enumerate(ACTORS.items()):
            caller = callers.enter_context(Caller(servers.gateway_url, f"10.0.1.{number}"))
            requests = edits() if name == "edits" else clips()
            own = random.Random(noise.getrandbits(64))
            mean_s = pause_s * plan.pause
            actor = kind(name, caller, book, solo, requests, stop, mean_s, own)
            threads.append(threading.Thread(target=actor.run, daemon=True))
        started = time.monotonic()
        with UsageSampler(servers.processes) as usage:
            for thread in threads:
                thread.start()
            _trouble(plan, servers, book, noise, started + 60 * plan.minutes)
            stop.set()
            for thread in threads:
                thread.join()
        minutes = (time.monotonic() - started) / 60
        busy = _busy_gauges(servers)
        if busy:
            book.fault("gauges", f"not back to zero after {_REST_S:g} s: {busy}")
        if plan.is_timed and not jam.num_clips:
            book.fault("jam", "not one clip was made")
        _compare_jam(jam, servers, book)
        memory, fds = usage.growth()
        if plan.minutes >= _LONG_MINUTES and memory > MAX_MEMORY_GROWTH:
            book.fault("memory", f"rose by {memory / 2**20:.0f} MiB")
        if plan.minutes >= _LONG_MINUTES and fds > MAX_FD_GROWTH:
            book.fault("file descriptors", f"rose by {fds:.1f}")
        if not servers.is_running:
            book.fault("serve", "has ended")
    if servers.had_to_be_killed:
        book.fault("serve", f"SIGTERM did not end it within {STOP_S:g} s")
    return book, _report(plan, book, jam, minutes, (memory, fds, len(usage.samples)))


def _solo(servers: ServeProcess, book: Book) -> Solo:
    """The answers to all requests, one after the other."""
    solo = {}
    with Caller(servers.gateway_url, "10.0.2.1", timeout_s=600) as caller:
        for request in [*clips(), *edits()]:
            clip = book.judge("solo", caller.ask(request))
            if clip is not None:
                solo[key(request)] = clip
    return solo


def _trouble(
    plan: Plan, servers: ServeProcess, book: Book, noise: random.Random, until_s: float
) -> None:
    """Trouble of all kinds in turn, until the time is over."""
    kinds: list[str] = []
    patience_s = MAX_RESTART_S if plan.is_timed else 600.0
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, noise.uniform(0.5, 1.5) * plan.trouble_s))
        if time.monotonic() >= until_s:
            return
        if not kinds:
            kinds = ["truss", "gateway", "disk", "clock"]
            noise.shuffle(kinds)
        kind = kinds.pop()
        book.count("trouble", kind)
        if kind == "disk":
            book.troubles.fill_disk(servers, plan.disk_s)
        elif kind == "clock":
            book.troubles.jump(noise)
        elif fault := book.troubles.kill(servers, kind, patience_s):
            book.fault("supervisor", fault)


def _compare_jam(jam: Jam, servers: ServeProcess, book: Book) -> None:
    """Make some clips of the jam again, alone: they are the same."""
    with Caller(servers.gateway_url, "10.0.2.2", timeout_s=600) as caller:
        for number in list(jam.kept)[:_NUM_SOLO_JAM]:
            book.judge("jam's solo run", caller.ask(jam_stop(number)), jam.kept[number])


def _busy_gauges(servers: ServeProcess) -> dict[str, float]:
    """Gauges of jobs that don't go back to zero."""
    deadline = time.monotonic() + _REST_S
    while True:
        try:
            text = httpx.get(f"{servers.truss_url}/metrics/", timeout=30, trust_env=False).text
        except httpx.HTTPError as error:
            text = repr(error)
        found = re.findall(r"^(riffusion_(?:live|waiting)_jobs) (\S+)", text, re.MULTILINE)
        busy = {name: float(value) for name, value in found if float(value)}
        if found and not busy:
            return {}
        if time.monotonic() > deadline:
            return busy or {text[:200]: 0.0}
        time.sleep(0.5)


def _report(
    plan: Plan, book: Book, jam: Jam, minutes: float, usage: tuple[float, float, int]
) -> str:
    memory, fds, num_samples = usage
    lines = [f"FAULT {fault}" for fault in book.faults]
    lines.append(f"{minutes:.1f} min, seed {plan.seed}, engine {plan.engine}")
    for name, counts in book.answers.items():
        shown = ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))
        lines.append(f"  {name}: {shown}")
    for kind, seconds in book.troubles.restarts_s.items():
        longest = f", the longest {max(seconds):.1f} s" if seconds else ""
        lines.append(f"  {kind} restarted after SIGKILL: {len(seconds)} times{longest}")
    lines += [
        f"  jam: {jam.num_clips} clips, {jam.num_repeats} loops repeated, longest wait "
        f"{jam.longest_wait_s:.1f} s, worst joint {jam.worst_joint:.2f} of the loops' own steps "
        f"(fades of {1000 * TAKE_OVER_S:g} ms)",
        f"  {book.num_compared} answers compared with solo runs",
        f"  memory rose by {memory / 2**20:.1f} MiB, file descriptors by {fds:.1f} "
        f"({num_samples} samples)",
        *(f"  left out: {what}" for what in book.troubles.left_out),
        f"{len(book.faults)} faults",
    ]
    return "\n".join(lines) + "\n"
