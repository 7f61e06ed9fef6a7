"""Decoded samples of any type → int16 or int32, and a warning about floats beyond full scale."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from riffusion.audio.pcm import Samples

logger = logging.getLogger(__name__)

_LOSSY_OVERSHOOT = 1.5
"""Peak that lossy codecs reach with audio at full scale, rounded up; 1.5 is 3.5 dB."""


def integers(array: npt.NDArray[Any], wide: bool) -> npt.NDArray[np.signedinteger]:
    """Samples in the decoder's type to int32 if wide, else to int16; floats are rounded."""
    if array.dtype == np.uint8:
        return np.asarray((array.astype(np.int16) - 128) << 8, dtype=np.int16)
    if array.dtype == np.int16:
        return array
    if array.dtype == np.int64:
        return np.asarray(array >> 32, dtype=np.int32)
    if array.dtype == np.int32:
        return array if wide else np.right_shift(array, 16).astype(np.int16)
    return rounded(array, wide)


def rounded(array: npt.NDArray[Any], wide: bool) -> npt.NDArray[np.signedinteger]:
    """Floats to int32 if wide, else to int16; clipped to full scale, and NaN becomes 0."""
    full_scale = 2.0**31 if wide else 2.0**15
    scaled = array.astype(np.float64)
    np.copyto(scaled, 0, where=np.isnan(scaled))
    np.clip(scaled, -1, 1, out=scaled)
    scaled *= full_scale
    np.rint(scaled, out=scaled)
    np.minimum(scaled, full_scale - 1, out=scaled)
    return scaled.astype(np.int32 if wide else np.int16)


def is_at_full_scale(samples: npt.NDArray[np.signedinteger]) -> bool:
    full = np.iinfo(samples.dtype)
    return bool(samples.max() == full.max or samples.min() == full.min)


def peak_of(floats: npt.NDArray[Any]) -> float:
    """Largest finite size."""
    return float(np.abs(floats).max(initial=0, where=np.isfinite(floats)))


def warn_of_clipping(peak: float, *, is_lossy: bool) -> None:
    """Lossy codecs overshoot a little: what was at full scale before is above it afterwards."""
    if peak > (_LOSSY_OVERSHOOT if is_lossy else 1.0):
        logger.warning(
            "the audio file has float samples up to %.3g times full scale, which are clipped; "
            "lower its level by %.1f dB to keep them",
            peak,
            20 * np.log10(peak) + 0.05,
        )


def widened(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    """Samples of 16 bits as samples of 32 bits, if `dtype` is that."""
    return samples if samples.dtype == dtype else samples.astype(dtype) << 16
