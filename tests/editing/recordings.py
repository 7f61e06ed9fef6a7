"""Recordings in files, written and read by the soundfile library, independently of the project."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

Integers = npt.NDArray[np.int32]


def noise_of(bits: int, count: int, length: int, seed: int = 0) -> Integers:
    """(count, length) with all bits in use; 16 or 24 bits are the upper ones of 32."""
    full = 2 ** (bits - 1)
    generator = np.random.default_rng(seed)
    samples = generator.integers(-full, full, (count, length), dtype=np.int64)
    return (samples << (32 - bits)).astype(np.int32)


def write(path: Path, samples: Integers, rate: int, bits: int) -> Path:
    """Write integers; the extension decides the format."""
    soundfile.write(path, samples.T, rate, subtype=f"PCM_{bits}")
    return path


def read(path: Path, rate: int, bits: int) -> Integers:
    """Read integers, after checking that the file has this rate and these bits."""
    info = soundfile.info(path)
    assert (info.samplerate, info.subtype) == (rate, f"PCM_{bits}")
    samples, _ = soundfile.read(path, dtype="int32", always_2d=True)
    return np.ascontiguousarray(samples.T)
