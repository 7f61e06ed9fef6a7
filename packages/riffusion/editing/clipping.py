"""How much of new sound exceeds full scale, and is clipped there."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt


class Clipping:
    """Looks at sound before it is clipped, part by part."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._num_samples = 0

    def add(self, sound: npt.NDArray[Any], full_scale: float = 1.0) -> None:
        """Look at a part.

        Args:
            sound: values of any shape.
            full_scale: values from -full_scale to full_scale don't clip; of integers, which can't
                hold full_scale itself, it clips, too.
        """
        size = np.abs(sound)
        self._peak = max(self._peak, float(size.max(initial=0)) / full_scale)
        clips = size > full_scale
        if np.issubdtype(sound.dtype, np.integer):
            clips |= sound == full_scale
        self._num_samples += int(np.count_nonzero(clips))

    def remark(self, what: str, remedy: str) -> str | None:
        """A line about what is clipped; None if nothing is.

        Args:
            what: what was looked at, such as "the remix".
            remedy: what to do about it.
        """
        if not self._num_samples:
            return None
        # Rounded up, so that a gain lowered by that much is low enough.
        above_db = 20 * math.log10(self._peak) + 0.05
        samples = "1 sample is" if self._num_samples == 1 else f"{self._num_samples} samples are"
        return f"{what} reaches {above_db:.1f} dB above full scale, and {samples} clipped; {remedy}"


def remark_on_new_sound(clipping: Clipping) -> str | None:
    """The line about sound that an edit has made."""
    return clipping.remark("the new sound", "a recording that is quieter by that much avoids it")
