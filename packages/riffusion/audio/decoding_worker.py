"""The process in which the audio of served requests is decoded; `decoding_pool` starts it.

It may take a bounded amount of memory, and open no file and no connection, as far as the system
has such limits (Linux; macOS has no limit for memory, and Windows has none of them).
"""

import faulthandler
import io
import logging
import os
import queue
import signal
import sys
import threading
import traceback
import wave
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from riffusion.audio.decoding import decode_audio
from riffusion.audio.recording import decoded_samples
from riffusion.errors import InputError, MediaError
from riffusion.runtime.messages import Message, receive, send

MAX_FILE_BYTES = 2**28
"""Largest file in bytes; bodies of requests are far smaller."""
_MAX_LOG_LINES = 100


def main() -> None:
    """Answer requests from standard input until it ends. Argument: bytes of memory to use."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what FFmpeg prints goes to the log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    faulthandler.enable()  # a crash leaves its Python stack in the log
    log = _Collected()
    logging.getLogger("riffusion").addHandler(log)
    _warm_up()
    _limit_resources(max_memory=int(sys.argv[1]))
    requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    send(answers, ({}, b""))  # ready
    while True:
        options, data = requests.get()
        log.lines = []
        answer, samples = _answer(options, data)
        send(answers, ({**answer, "log": log.lines}, samples))
        del data, samples  # they would stay until the next request has come


def _read_requests(requests: "queue.SimpleQueue[Message]") -> None:
    """Read requests in a thread, so that the process also ends while a file is being decoded."""
    source: BinaryIO = sys.stdin.buffer
    try:
        while True:
            requests.put(receive(source, MAX_FILE_BYTES))
    finally:
        os._exit(1)  # the parent has ended, or memory has run out


def _answer(options: dict[str, Any], data: bytes) -> Message:
    try:
        if options.pop("is_recording", False):
            return _recording(data, options)
        segment = decode_audio(data, **options)
    except InputError as error:
        kind = "media" if isinstance(error, MediaError) else "input"
        return {"error": kind, "message": str(error)}, b""
    except MemoryError:
        return {"error": "memory"}, b""
    except Exception as error:
        reason = str(error) or type(error).__name__
        return {"error": "other", "message": reason, "traceback": traceback.format_exc()}, b""
    return {
        "sample_width": segment.sample_width,
        "frame_rate": segment.frame_rate,
        "channels": segment.channels,
    }, segment.raw_data


def _recording(data: bytes, options: dict[str, Any]) -> Message:
    pcm, bits = decoded_samples(data, **options)
    answer = {
        "sample_width": pcm.sample_width,
        "frame_rate": pcm.sample_rate,
        "channels": pcm.num_channels,
        "bits": bits,
    }
    return answer, np.ascontiguousarray(pcm.samples.T).tobytes()


class _Collected(logging.Handler):
    """Collects the log of one file: [logger, level, text] each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _MAX_LOG_LINES:
            self.lines.append((record.name, record.levelno, record.getMessage()[:1000]))


def _warm_up() -> None:
    """Decode a file, and fail on another one, before no more modules can be loaded."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(8820))
    _answer({"max_duration_s": 60.0}, buffer.getvalue())
    _answer({"is_recording": True, "max_duration_s": 60.0, "max_samples": 2**20}, buffer.getvalue())
    _answer({"max_duration_s": 60.0}, b"not audio")
    _answer({"no": "option"}, b"")


def _limit_resources(max_memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold what a client sent
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # pipes that are open stay open
    with suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory, max_memory))


if __name__ == "__main__":
    main()
