"""Checks the numbers of variable length in a MIDI file before mido reads it.

    MThd, size, type, tracks, division, then tracks: MTrk, size, events
    event: delta-time, then a message, or 0xFF, type, length and data, or 0xF0 or 0xF7, length, data

Delta-times and lengths have 7 bits per byte, the upper bit set in all but the last, and at most
four bytes (Standard MIDI Files 1.0). mido accepts any number of bytes, in time that grows with the
square of it.
"""

MAX_NUMBER_BYTES = 4
_HEADER_BYTES = 8
_META, _SYSEX, _SYSEX_CONTINUED = 0xFF, 0xF0, 0xF7
_DATA_BYTES_OF_CHANNEL = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
"""Data bytes of a message by the upper half of its status."""
_DATA_BYTES_OF_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1}


def check_numbers(data: bytes) -> None:
    """Check that no delta-time and no length of a MIDI file is too long.

    It ends without an error at the first byte that no MIDI file has there: mido refuses it.

    Args:
        data: the file.

    Raises:
        ValueError: a number has more than four bytes.
    """
    try:
        at = _HEADER_BYTES + int.from_bytes(data[4:8], "big")
        for _ in range(int.from_bytes(data[10:12], "big")):
            size = int.from_bytes(data[at + 4 : at + _HEADER_BYTES], "big")
            start = at + _HEADER_BYTES
            at = _track_end(data, start, start + size)
    except LookupError:
        return


def _track_end(data: bytes, at: int, end: int) -> int:
    """Where a track's events end; as mido reads them, only an event that ends at `end` is last."""
    running = None
    while at != end:
        _, at = _number(data, at)
        status = data[at]
        if status < 0x80:  # the last status holds
            if running is None:
                raise LookupError
            status = running
            at += status in (_SYSEX, _SYSEX_CONTINUED)  # mido skips a byte there
        else:
            at += 1
            running = running if status == _META else status
        if status == _META:
            length, at = _number(data, at + 1)
        elif status in (_SYSEX, _SYSEX_CONTINUED):
            length, at = _number(data, at)
        elif status < _SYSEX:
            length = _DATA_BYTES_OF_CHANNEL[status >> 4]
        else:
            length = _DATA_BYTES_OF_SYSTEM.get(status, 0)
        at += length
    return at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number at a position, and the position after it."""
    value = 0
    for position in range(at, at + MAX_NUMBER_BYTES):
        byte = data[position]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + 1
    raise ValueError(f"byte {at} begins a time or length of more than {MAX_NUMBER_BYTES} bytes")
