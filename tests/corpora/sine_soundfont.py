"""A soundfont of a few kilobytes whose instruments are all sines (SoundFont 2.01, section 7)."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_RATE = 44_000
_PERIOD = 100
_ROOT_PITCH = 69
"""A period of 100 samples at 44 kHz is A4, 440 Hz."""
_LENGTH = 20 * _PERIOD
_LOOP = (2 * _PERIOD, 18 * _PERIOD)
_SILENT_SAMPLES = 46
"""Silence that the format requires after each sample."""
_INSTRUMENT, _SAMPLE_ID, _SAMPLE_MODES = 41, 53, 54
_MONO, _LOOPED = 1, 1


def write_sine_soundfont(path: Path, presets: Sequence[tuple[int, int]]) -> Path:
    """Write a soundfont with a preset for each (bank, program)."""
    sine = np.sin(2 * np.pi * np.arange(_LENGTH) / _PERIOD) * 20_000
    samples = np.concatenate([sine, np.zeros(_SILENT_SAMPLES)]).astype("<i2").tobytes()
    end = len(presets)
    headers = [
        struct.pack("<20sHHHIII", b"sine", program, bank, i, 0, 0, 0)
        for i, (bank, program) in enumerate(sorted(presets))
    ]
    headers.append(struct.pack("<20sHHHIII", b"EOP", 0, 0, end, 0, 0, 0))
    sample = struct.pack(
        "<20sIIIIIBbHH", b"sine", 0, _LENGTH, *_LOOP, _RATE, _ROOT_PITCH, 0, 0, _MONO
    )
    data = {
        "phdr": b"".join(headers),
        "pbag": b"".join(struct.pack("<HH", i, 0) for i in range(end + 1)),
        "pmod": bytes(10),
        "pgen": struct.pack("<HH", _INSTRUMENT, 0) * end + bytes(4),
        "inst": struct.pack("<20sH", b"sine", 0) + struct.pack("<20sH", b"EOI", 1),
        "ibag": struct.pack("<HHHH", 0, 0, 2, 0),
        "imod": bytes(10),
        "igen": struct.pack("<HHHH", _SAMPLE_MODES, _LOOPED, _SAMPLE_ID, 0) + bytes(4),
        "shdr": sample + struct.pack("<20s26x", b"EOS"),
    }
    info = {"ifil": struct.pack("<HH", 2, 1), "isng": b"EMU8000\0", "INAM": b"sine\0\0"}
    body = b"sfbk" + _list("INFO", info) + _list("sdta", {"smpl": samples}) + _list("pdta", data)
    path.write_bytes(_chunk("RIFF", body))
    return path


def _list(name: str, chunks: dict[str, bytes]) -> bytes:
    return _chunk("LIST", name.encode() + b"".join(_chunk(*item) for item in chunks.items()))


def _chunk(name: str, data: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(data)) + data
