"""What an answer may be, given the trouble that there was while it was made."""

import base64
import io
import json
import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.soak.trouble import Troubles

MIN_PSNR_DB = 45.0
"""PSNR of a clip's image to that of its solo run. Batched with others, rows are rounded in another
way, which gives 70 dB or more as PNG and less as JPEG; other clips have about 15 dB."""
REFUSALS = (429, 503, 504)
"""Statuses that a valid request may always get: too many, too busy, too late."""


@dataclass(frozen=True)
class Answer:
    """How one request ended.

    Attributes:
        status: 0 if the connection ended without an answer.
        body: all of it; for a stream its lines.
        error: what ended the connection.
    """

    status: int
    body: bytes
    from_s: float
    to_s: float
    error: str = ""

    def clip(self) -> dict[str, Any] | None:
        """The clip of an answer, or of a stream's last event; None if there is none."""
        if self.status != 200:
            return None
        try:
            last: dict[str, Any] = json.loads(self.body.splitlines()[-1])
        except (ValueError, IndexError):
            return None
        return last if "audio" in last else None


@dataclass
class Book:
    """Counts answers by actor, and keeps the faults. Threads share it."""

    troubles: Troubles
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    num_compared: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, actor: str, what: str) -> None:
        """Count what has happened to an actor."""
        with self._lock:
            self.answers.setdefault(actor, Counter())[what] += 1

    def fault(self, actor: str, what: str) -> None:
        """Keep a fault."""
        with self._lock:
            self.faults.append(f"{actor}: {what}")

    def judge(
        self, actor: str, answer: Answer, expected: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Count an answer to a valid request, and find its faults; the clip if it is one.

        Args:
            actor: who has asked.
            answer: to a valid request.
            expected: the clip that the same request got when it was the only one.
        """
        clip = answer.clip()
        felt = self.troubles.between(answer.from_s, answer.to_s)
        self.count(actor, str(answer.status) if answer.status != 200 or clip else "200 error event")
        if clip is not None:
            if expected is not None:
                with self._lock:
                    self.num_compared += 1
                wrong = difference(clip, expected)
                if wrong:
                    self.fault(
                        actor, f"not the solo run's clip: {wrong}; trouble: {felt or 'none'}"
                    )
            return clip
        problem = _problem(answer, felt)
        if problem:
            self.fault(actor, f"{problem}; trouble: {felt or 'none'}")
        return None


def difference(clip: Mapping[str, Any], solo: Mapping[str, Any]) -> str | None:
    """How a clip differs from the same request's alone; None if by no more than rounding."""
    if clip["duration_s"] != solo["duration_s"]:
        return f"{clip['duration_s']} s instead of {solo['duration_s']} s"
    image, expected = _pixels(clip), _pixels(solo)
    if image.shape != expected.shape:
        return f"an image of {image.shape} instead of {expected.shape}"
    error = float(np.mean((image - expected) ** 2))
    psnr_db = 10 * math.log10(255**2 / error) if error else math.inf
    return None if psnr_db >= MIN_PSNR_DB else f"its image has {psnr_db:.1f} dB"


def _pixels(clip: Mapping[str, Any]) -> NDArray[np.float64]:
    data = base64.b64decode(clip["image"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def _problem(answer: Answer, felt: set[str]) -> str | None:
    """What is wrong with an answer that is no clip; None if it is a clear error at such a time."""
    if answer.status == 0:
        return None if "gateway" in felt else f"no answer: {answer.error}"
    message = _message(answer.body)
    if message is None:
        return f"status {answer.status} without a clear error: {answer.body[-300:]!r}"
    if answer.status in REFUSALS:
        return None
    if answer.status == 502 and "truss" in felt:
        return None
    if answer.status == 200 and felt & {"truss", "disk"}:
        return None  # a stream's error event
    if answer.status == 200 and "deadline_s" in message:
        return None
    return f"status {answer.status}: {message[:300]}"


def _message(body: bytes) -> str | None:
    """The `error` of an answer, or of a stream's last event."""
    try:
        last = json.loads(body.splitlines()[-1])
        return str(last["error"]) or None
    except (ValueError, IndexError, KeyError, TypeError):
        return None
