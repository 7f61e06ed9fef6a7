"""Decodes audio from strangers in processes of their own, where a hostile file does little harm.

FFmpeg is a million lines of C that read whatever a request brings. A file that crashes or hangs it,
or makes it use up the memory, ends one process of this pool instead of the model's.
"""

import logging
import math
import threading
import weakref
from contextlib import suppress
from typing import Any

import numpy as np

from riffusion.audio import decoding_worker
from riffusion.audio.pcm import SAMPLE_TYPES
from riffusion.audio.recording import Recording
from riffusion.audio.segments import AudioSegment
from riffusion.errors import InputError, MediaError, OverloadedError, ServerError
from riffusion.runtime.child_process import ChildProcess

logger = logging.getLogger(__name__)

TIME_LIMIT_S = 10.0
"""A minute of audio takes less than a second."""
MAX_PROCESSES = 4
"""Files that are decoded at the same time, so that a few hostile ones keep no others waiting."""
MAX_SAMPLES = 2**26
"""Limit for samples × channels: a minute in 23 channels at 48 kHz, or in 5 at 192 kHz."""
MAX_MEMORY = 2**30
"""Memory of one process in bytes: `MAX_SAMPLES` of 32 bits and copies of them take 0.85 GB."""
MAX_WAIT_S = 30.0
"""Longest time in seconds that a file waits until its decoding begins."""
_MAX_ANSWER_BYTES = 4 * MAX_SAMPLES
_REMEDY = "convert it to wav, flac or mp3 and send that"


class DecodingPool:
    """Processes that decode audio. Several threads may use it at the same time.

    Processes are started when they are needed, up to `max_processes`, and kept. One that ends is
    replaced. All of them end with the pool, or with this process, however it ends.

    Args:
        max_processes: the most files that are decoded at the same time.
        time_limit_s: limit for the decoding of one file.
        max_memory: limit for the memory of one process, in bytes.
        max_wait_s: longest time that a file waits until its decoding begins.
    """

    def __init__(
        self,
        max_processes: int = MAX_PROCESSES,
        time_limit_s: float = TIME_LIMIT_S,
        max_memory: int = MAX_MEMORY,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._max_memory = max_memory
        self._max_wait_s = max_wait_s
        self._slots = threading.Semaphore(max_processes)
        self._lock = threading.Lock()
        self._num_waiting = 0
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._finalizer = weakref.finalize(self, _close_all, self._all)  # also at exit

    @property
    def pids(self) -> list[int]:
        """Ids of the processes."""
        with self._lock:
            return [process.pid for process in self._all]

    def start(self) -> None:
        """Start a process and wait for it, so that the first file doesn't.

        Raises:
            ServerError: the process doesn't start.
        """
        process = self._take()
        try:
            process.wait_until_ready()
        finally:
            self._give_back(process)

    def close(self) -> None:
        """End all processes. Files that are being decoded fail."""
        with self._lock:
            self._finalizer()

    def decode(self, data: bytes, *, max_duration_s: float | None = None) -> AudioSegment:
        """Decode a file as `decode_audio` does, in another process; its warnings are logged here.

        Raises:
            MediaError: as `decode_audio`, or the file exceeds the limit of time or memory, or the
                process ended over it.
            OverloadedError: no process was free within `max_wait_s`.
            ServerError: the process doesn't start, or the pool is closed.
        """
        answer, samples = self._ask(data, max_duration_s)
        return AudioSegment(
            samples,
            sample_width=answer["sample_width"],
            frame_rate=answer["frame_rate"],
            channels=answer["channels"],
        )

    def open_recording(self, data: bytes, max_duration_s: float | None = None) -> Recording:
        """Decode a file as `Recording.open` does, in another process.

        Raises:
            MediaError, OverloadedError, ServerError: as `decode`.
            InputError: there is no room for the temporary file.
        """
        answer, samples = self._ask(data, max_duration_s, is_recording=True)
        dtype = SAMPLE_TYPES[answer["sample_width"]]
        whole = np.frombuffer(samples, dtype).reshape(-1, answer["channels"]).T
        return Recording.from_blocks([whole], answer["frame_rate"], answer["bits"])

    def _ask(
        self, data: bytes, max_duration_s: float | None, *, is_recording: bool = False
    ) -> tuple[dict[str, Any], bytes]:
        """What a process answers about a file, and its samples, one moment after the other."""
        if len(data) > decoding_worker.MAX_FILE_BYTES:
            raise MediaError(
                f"the audio file has {len(data)} bytes; at most {decoding_worker.MAX_FILE_BYTES} "
                "are allowed"
            )
        options: dict[str, Any] = {"max_duration_s": max_duration_s, "max_samples": MAX_SAMPLES}
        if is_recording:
            options["is_recording"] = True
        self._acquire_slot()
        try:
            process = self._take()
            try:
                answer, samples = process.ask((options, data), self._time_limit_s)
            except TimeoutError:
                raise MediaError(
                    f"decoding it takes longer than {self._time_limit_s:g} s, the limit; {_REMEDY}"
                ) from None
            except EOFError as error:
                self._check_open()
                logger.warning("the process that decodes audio ended: %s", error)
                raise MediaError(
                    f"the decoder ended while it read the file ({error}), which may be damaged; "
                    f"{_REMEDY}"
                ) from None
            except ServerError:
                self._check_open()
                raise
            finally:
                self._give_back(process)
        finally:
            self._slots.release()
        self._check_answer(answer)
        return answer, samples

    def _check_answer(self, answer: dict[str, Any]) -> None:
        """Log what the process logged, and raise what it failed with."""
        for name, level, text in answer["log"]:
            logging.getLogger(name).log(level, "%s", text)
        match answer.get("error"):
            case None:
                return
            case "media":
                raise MediaError(answer["message"])
            case "input":
                raise InputError(answer["message"])
            case "memory":
                raise MediaError(
                    f"decoding it takes more than {self._max_memory >> 20} MiB of memory, the "
                    f"limit; {_REMEDY}"
                )
        failure = RuntimeError(answer["message"])
        failure.add_note(answer["traceback"])
        raise failure

    def _acquire_slot(self) -> None:
        with self._lock:
            self._num_waiting += 1
        try:
            if not self._slots.acquire(timeout=self._max_wait_s):
                raise OverloadedError(self._num_waiting, math.ceil(self._time_limit_s))
        finally:
            with self._lock:
                self._num_waiting -= 1

    def _take(self) -> ChildProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                self._forget(process)  # it ended between two files
            return self._new_process()

    def _give_back(self, process: ChildProcess) -> None:
        with self._lock:
            if process.is_alive:
                self._idle.append(process)
                return
            self._forget(process)
            if self._finalizer.alive:
                with suppress(ServerError):  # the next file tries again
                    self._idle.append(self._new_process())  # it starts while nobody waits

    def _new_process(self) -> ChildProcess:
        self._check_open()
        process = ChildProcess(decoding_worker.__name__, [str(self._max_memory)], _MAX_ANSWER_BYTES)
        self._all.add(process)
        return process

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise ServerError("the processes that decode audio are closed")

    def _forget(self, process: ChildProcess) -> None:
        process.close()
        self._all.discard(process)


def _close_all(processes: set[ChildProcess]) -> None:
    for process in processes:
        process.close()
    processes.clear()
