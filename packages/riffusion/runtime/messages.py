"""Messages between a process and its child: a JSON object, and bytes.

    ┌──────────────────────┬───────────────────────┬──────┬───────┐
    │ length of the object │ length of the bytes   │ JSON │ bytes │
    │ 4 bytes, big-endian  │ 8 bytes, big-endian   │      │       │
    └──────────────────────┴───────────────────────┴──────┴───────┘

The standard library's messages between processes are pickles. Reading a pickle can run any code, so
a child that a hostile file has taken over could run code in its parent.
"""

import json
import struct
from typing import Any, BinaryIO

Message = tuple[dict[str, Any], bytes]

_LENGTHS = struct.Struct(">IQ")
_MAX_OBJECT_BYTES = 2**20


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message.

    Raises:
        OSError: nobody reads the stream any more.
    """
    text = json.dumps(message[0]).encode()
    stream.write(_LENGTHS.pack(len(text), len(message[1])) + text)
    stream.write(message[1])
    stream.flush()


def receive(stream: BinaryIO, max_bytes: int) -> Message:
    """Wait for a message.

    Args:
        stream: where it is read from.
        max_bytes: the most bytes that it may have beside its object.

    Raises:
        EOFError: the stream ended.
        ValueError: it isn't a message, or is larger than allowed.
    """
    num_object_bytes, num_bytes = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    if num_object_bytes > _MAX_OBJECT_BYTES or num_bytes > max_bytes:
        raise ValueError(f"a message of {num_object_bytes} + {num_bytes} bytes is too large")
    values = json.loads(_read(stream, num_object_bytes))
    if not isinstance(values, dict):
        raise ValueError("a message without an object")
    return values, _read(stream, num_bytes)


def _read(stream: BinaryIO, num_bytes: int) -> bytes:
    data = stream.read(num_bytes)
    if len(data) < num_bytes:
        raise EOFError
    return data
