"""New sound in a temporary file, so that it can be measured as a whole before it is used."""

from collections.abc import Iterable

import numpy as np

from riffusion.audio.sample_file import FilePart, SampleFile
from riffusion.audio.waveform import Waveform


class SpooledSound:
    """Sound that can be read like a recording; memory doesn't depend on its length.

    The file has no name, and goes with this object.

    Args:
        parts: (channels, samples) float32 each, at least one; they are consumed.
        sample_rate: theirs, in Hz.

    Raises:
        InputError: there is no room for the temporary file.
    """

    def __init__(self, parts: Iterable[Waveform], sample_rate: int) -> None:
        self._part = FilePart(SampleFile())
        for part in parts:
            self._part.append(part.astype(np.float32))
        self.sample_rate = sample_rate
        self.num_channels = self._part.num_channels
        self.num_samples = self._part.num_samples

    def waveform(self, start: int, stop: int, /) -> Waveform:
        """Samples from `start` to `stop`: (channels, stop - start)."""
        return np.asarray(self._part.samples(start, stop), np.float32)
