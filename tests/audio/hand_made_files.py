"""Audio files written byte by byte, with known tones, and a check that they were read rightly."""

import math
import struct

import numpy as np
import pytest

from riffusion.audio import AudioSegment, waveform_from_segment
from tests.audio.audio_signals import Signal, sine

PEAK = 0.3
NUM_SAMPLES = 12_000
HZ = 440.0
SPEAKERS = ["FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC"]


def tones(count: int, rate: int) -> Signal:
    """(count, samples): channel number n is a sine of (n + 1) × 440 Hz."""
    duration_s = NUM_SAMPLES / rate
    return np.concatenate([sine(HZ * (n + 1), PEAK, duration_s, rate) for n in range(count)])


def frequency(samples: Signal, rate: int) -> float:
    """Frequency of the FFT's peak in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum)) * rate / samples.size


def level(samples: Signal, hz: float, rate: int) -> float:
    """Amplitude of a sine in a signal, by its Fourier coefficient."""
    time = np.arange(samples.size) / rate
    return float(2 * abs(np.mean(samples * np.exp(-2j * np.pi * hz * time))))


def containers(
    waveform: Signal, width: int, valid: int, order: str, *, lower: bool = False
) -> bytes:
    """Interleaved integers in containers of `width` bytes, of which `valid` bits are in use."""
    numbers = np.rint(waveform.T.astype(np.float64) * 2.0 ** (valid - 1)).astype(np.int64)
    if not lower:
        numbers = numbers << (8 * width - valid)
    if width == 1:
        return bytes((numbers + 128).astype(np.uint8).ravel())
    digits = np.ascontiguousarray(numbers, "<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    return bytes(np.ascontiguousarray(digits if order == "<" else digits[:, ::-1]))


def wav(
    data: bytes,
    rate: int,
    count: int,
    width: int,
    bits: int,
    *,
    valid: int | None = None,
    mask: int = 0,
    tag: int = 1,
    order: str = "<",
    block: int | None = None,
) -> bytes:
    """A WAV file; with `valid`, its header is WAVE_FORMAT_EXTENSIBLE."""
    size = width * count if block is None else block
    head = struct.pack(
        order + "HHIIHH", tag if valid is None else 0xFFFE, count, rate, rate * size, size, bits
    )
    if valid is not None:
        guid = struct.pack(order + "IHH", tag, 0, 16) + bytes.fromhex("800000aa00389b71")
        head += struct.pack(order + "HHI", 22, valid, mask) + guid
    junk = b"JUNK" + struct.pack(order + "I", 3) + b"abc\0"  # odd chunks are padded
    body = b"WAVE" + junk + b"fmt " + struct.pack(order + "I", len(head)) + head
    body += b"data" + struct.pack(order + "I", len(data)) + data
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(order + "I", len(body)) + body


def check(segment: AudioSegment, count: int, rate: int, valid: int = 16) -> None:
    """Check that a segment is `tones`."""
    decoded = waveform_from_segment(segment)
    assert (segment.frame_rate, decoded.shape) == (rate, (count, NUM_SAMPLES))
    assert np.abs(decoded - tones(count, rate)).max() <= 2.0 ** (1 - min(valid, 16))
    for number, channel in enumerate(decoded):
        assert frequency(channel, rate) == pytest.approx(HZ * (number + 1), abs=rate / NUM_SAMPLES)
        assert np.abs(channel).max() == pytest.approx(PEAK, abs=2.0 ** (1 - min(valid, 12)))


def caf(
    data: bytes, rate: int, count: int, width: int, bits: int, flags: int, size: int | None = None
) -> bytes:
    """A Core Audio file; flags: 1 floats, 2 little-endian. A size of -1 means up to the end."""
    desc = struct.pack(">d4sIIIII", rate, b"lpcm", flags, width * count, 1, count, bits)
    body = b"desc" + struct.pack(">q", len(desc)) + desc
    body += b"data" + struct.pack(">q", len(data) + 4 if size is None else size) + bytes(4)
    return b"caff\0\1\0\0" + body + data


def aifc(data: bytes, rate: int, count: int, bits: int, kind: bytes, name: bytes = b"") -> bytes:
    """An AIFF-C file of a compression type."""
    mantissa, exponent = math.frexp(rate)
    length = len(data) * 8 // (count * -(-bits // 8) * 8)
    comm = struct.pack(">hIhHQ", count, length, bits, exponent + 16382, int(mantissa * 2**64))
    comm += kind + bytes([len(name)]) + name + b"\0" * (1 - len(name) % 2)
    body = b"AIFCFVER" + struct.pack(">II", 4, 0xA2805140)
    body += b"COMM" + struct.pack(">I", len(comm)) + comm
    body += b"SSND" + struct.pack(">III", len(data) + 8, 0, 0) + data
    return b"FORM" + struct.pack(">I", len(body)) + body


def mov(data: bytes, rate: int, count: int, width: int, bits: int, flags: int) -> bytes:
    """A QuickTime movie; flags: 1 floats, 2 big-endian, 8 packed, 16 bits from the top."""
    block, matrix = width * count, struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    length = len(data) // block
    v2 = struct.pack(">IdIIIIII", 72, rate, count, 0x7F000000, bits, flags, block, 1)
    entry = b"lpcm" + struct.pack(">6xH", 1)
    entry += struct.pack(">HHIHHHHI", 2, 0, 0, 3, 16, 0xFFFE, 0, 65536) + v2
    ftyp = _atom("ftyp", b"qt  ", 512, b"qt  ")
    tables = (
        _atom("stsd", 0, 1, len(entry) + 4, entry),
        _atom("stts", 0, 1, length, 1),
        _atom("stsc", 0, 1, 1, length, 1),
        _atom("stsz", 0, block, length),
        _atom("stco", 0, 1, len(ftyp) + 8),
    )
    dinf = _atom("dinf", _atom("dref", 0, 1, _atom("url ", 1)))
    minf = _atom("minf", _atom("smhd", 0, 0), dinf, _atom("stbl", *tables))
    mdhd = _atom("mdhd", 0, 0, 0, rate, length, 0)
    mdia = _atom("mdia", mdhd, _atom("hdlr", 0, b"mhlrsoun", 0, 0, 0, b"\0"), minf)
    tkhd = _atom("tkhd", 15, 0, 0, 1, 0, length, bytes(8), 0, 2**24, matrix, bytes(8))
    mvhd = _atom("mvhd", 0, 0, 0, rate, length, 65536, 2**24, bytes(8), matrix, bytes(24), 2)
    moov = _atom("moov", mvhd, _atom("trak", tkhd, mdia))
    return ftyp + _atom("mdat", data) + moov


def _atom(name: str, *parts: int | bytes) -> bytes:
    data = b"".join(part if isinstance(part, bytes) else struct.pack(">I", part) for part in parts)
    return struct.pack(">I", len(data) + 8) + name.encode() + data
