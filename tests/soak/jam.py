"""A listener of an endless jam, and the check of the joints between its clips.

Like the web app it asks for the next clip while one plays, repeats the playing loop if the next is
late, and lets each clip take over from the one before.
"""

import base64
import io
import random
import threading
import time
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from riffusion.audio import Audio, take_over
from riffusion.generation.jam import TAKE_OVER_S
from tests.soak.actors import Caller
from tests.soak.requests import jam_stop
from tests.soak.verdicts import Book

MAX_JOINT = 1.5
"""Largest step of the joint's slope, relative to the largest one of both loops as they repeat."""
SHARE_KEPT = 0.2
"""Share of the clips that is made again in solo runs afterwards."""


class Jam:
    """Listens until it is stopped.

    Attributes:
        kept: clips by their number, to compare with solo runs.
        worst_joint: of all joints, as `joint`.
        num_repeats: loops that were played again because the next clip was late.
        longest_wait_s: longest time from one new clip to the next.
    """

    def __init__(self, caller: Caller, book: Book, stop: threading.Event, seed: int) -> None:
        self._caller = caller
        self._book = book
        self._stop = stop
        self._noise = random.Random(seed)
        self.kept: dict[int, dict[str, Any]] = {}
        self.worst_joint = 0.0
        self.num_clips = 0
        self.num_repeats = 0
        self.longest_wait_s = 0.0

    def run(self) -> None:
        """Listen."""
        playing: Audio | None = None
        ends_s = last_s = time.monotonic()
        while not self._stop.is_set():
            clip = self._book.judge("jam", self._caller.ask(jam_stop(self.num_clips)))
            now_s = time.monotonic()
            if clip is None:
                self._stop.wait(0.5)
                continue
            self.longest_wait_s = max(self.longest_wait_s, now_s - last_s)
            last_s = now_s
            audio = audio_of(clip)
            if playing is not None:
                while ends_s < now_s:
                    self.num_repeats += 1
                    ends_s += playing.duration_s
                self._check(playing, audio)
                self._stop.wait(max(0.0, ends_s - now_s - audio.duration_s))
            if self._noise.random() < SHARE_KEPT:
                self.kept[self.num_clips] = clip
            ends_s = max(ends_s, now_s) + audio.duration_s
            playing = audio
            self.num_clips += 1

    def _check(self, playing: Audio, following: Audio) -> None:
        size = joint(playing, following)
        self.worst_joint = max(self.worst_joint, size)
        if size > MAX_JOINT:
            self._book.fault("jam", f"a seam before clip {self.num_clips}: {size:.2f}")


def audio_of(clip: dict[str, Any]) -> Audio:
    """The audio of an answer whose format is wav."""
    data = base64.b64decode(clip["audio"].partition(",")[2])
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return Audio(np.ascontiguousarray(samples.T), rate)


def joint(playing: Audio, following: Audio) -> float:
    """How much the slope jumps where `following` takes over, relative to elsewhere in both loops.

    A click is a step that the music itself doesn't have: 1 is the largest one within the loops and
    where each of them repeats.
    """
    part = take_over(playing, following, TAKE_OVER_S).waveform
    width = int(2 * TAKE_OVER_S * playing.sample_rate)
    bends = _bends(playing.waveform[:, -width:], part[:, :width])
    music = max(_bends(loop.waveform, loop.waveform).max() for loop in (playing, following))
    return float(bends.max() / max(music, 1e-6))


def _bends(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Second differences of two parts in a row, the largest of the channels."""
    both = np.concatenate([first, second], axis=1)
    return np.asarray(np.abs(np.diff(both, n=2, axis=1)).max(axis=0))
