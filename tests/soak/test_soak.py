"""A short soak, and its own rules: each fault is seen, and what trouble explains isn't one."""

import base64
import io
import json
import logging
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import Audio
from tests.fuzz import serve_process
from tests.soak.jam import MAX_JOINT, joint
from tests.soak.soak import Plan, soak
from tests.soak.trouble import Trouble, Troubles
from tests.soak.verdicts import Answer, Book


def clip(grey: int, width: int = 64) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 64), (grey, grey, grey)).save(buffer, "png")
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"image": image, "audio": "data:,b", "duration_s": 5.12}


CLIP = clip(100)
ERROR = {"error": "the endpoint is unreachable"}


def answer(values: object, status: int = 200) -> Answer:
    now_s = time.monotonic()
    return Answer(status, json.dumps(values).encode(), now_s - 1, now_s)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(Troubles(tmp_path))


def faults(book: Book, given: Answer, *kinds: str) -> list[str]:
    now_s = time.monotonic()
    book.troubles.all[:] = [Trouble(kind, now_s - 0.5, now_s) for kind in kinds]
    book.faults.clear()
    book.judge("clips", given, CLIP)
    return list(book.faults)


def test_clips_are_compared_with_their_solo_runs(book: Book) -> None:
    assert faults(book, answer(CLIP)) == []
    assert faults(book, answer(clip(101))) == []  # 48 dB, as rounding may be
    for other, what in (
        (clip(102), "42.1 dB"),
        (clip(100, width=65), "an image of"),
        ({**CLIP, "duration_s": 5.11}, "5.11 s instead of 5.12 s"),
    ):
        (fault,) = faults(book, answer(other), "truss", "gateway", "disk")
        assert what in fault


def test_an_answer_that_is_missing_or_unclear_is_a_fault_unless_trouble_explains_it(
    book: Book,
) -> None:
    lost = Answer(0, b"", time.monotonic(), time.monotonic(), "reset")
    for given, excuse in (
        (lost, "gateway"),
        (answer(ERROR, 502), "truss"),
        (answer({"event": "error", **ERROR}), "truss"),
    ):
        assert len(faults(book, given)) == 1
        assert len(faults(book, given, "clock")) == 1
        assert faults(book, given, excuse) == []
    for status in (429, 503, 504):
        assert faults(book, answer(ERROR, status)) == []
        assert len(faults(book, answer({}, status), "truss", "gateway", "disk")) == 1
    assert len(faults(book, answer(ERROR, 400), "truss", "gateway", "disk")) == 1
    assert len(faults(book, answer(ERROR, 500), "truss", "gateway")) == 1


def test_trouble_is_over_after_a_while(book: Book) -> None:
    book.troubles.all = [Trouble("truss", 100.0, 110.0), Trouble("disk", 105.0)]
    assert book.troubles.between(90.0, 99.0) == set()
    assert book.troubles.between(90.0, 100.0) == {"truss"}
    assert book.troubles.between(112.0, 120.0) == {"truss", "disk"}
    assert book.troubles.between(114.0, 120.0) == {"disk"}


def test_a_seam_is_seen() -> None:
    rate = 44_100
    time_s = np.arange(2 * rate) / rate
    music = Audio(np.sin(2 * np.pi * 220 * time_s)[None].astype(np.float32), rate)
    assert joint(music, music) <= 1.01
    later = Audio(np.roll(music.waveform, 50, axis=1), rate)  # a quarter of a period
    assert joint(music, later) <= MAX_JOINT
    with mock.patch("tests.soak.jam.take_over", lambda _, following, __: following):
        assert joint(music, later) > MAX_JOINT


def test_servers_that_do_not_end_are_killed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for script, is_deaf in (("exec sleep 60", False), ("trap '' TERM; echo; exec sleep 60", True)):
        monkeypatch.setattr(serve_process, "STOP_S", 0.2 if is_deaf else 60.0)
        servers = serve_process.ServeProcess(tmp_path / "log")
        servers._process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
        assert servers._process.stdout is not None
        if is_deaf:
            servers._process.stdout.readline()  # from now on it ignores SIGTERM
        with servers._process.stdout:
            servers.__exit__(None, None, None)
        assert not servers.is_running
        assert servers.had_to_be_killed == is_deaf


def test_a_short_soak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How long a restart takes is `make soak`'s to judge.

    Where no test may be left out, it lasts five minutes, which other tests use: it mostly waits.
    """
    caplog.set_level(logging.ERROR, "riffusion")
    plan = Plan(minutes=0.7, seed=1, trouble_s=6.0, disk_s=2.0, is_timed=False)
    if os.environ.get("RIFFUSION_REQUIRE_ALL") == "1":
        plan = replace(plan, minutes=5.0, trouble_s=15.0, pause=4.0)
    book, report = soak(plan, tmp_path)
    assert book.faults == [], report
    assert book.num_compared > 0
    assert sum(book.answers["trouble"].values()) > 0
