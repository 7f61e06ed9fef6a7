"""A separator that is easy to check."""

from collections.abc import Iterator

import numpy as np

from riffusion.audio import Recording


class Halves:
    """A separator whose stems are the recording's two halves in level."""

    names = ("half", "rest")

    def __call__(self, recording: Recording) -> Iterator[np.ndarray]:
        for start in range(0, recording.num_samples, 10_000):
            stop = min(start + 10_000, recording.num_samples)
            yield recording.waveform(start, stop)[None] / 2
