"""What edits need of a recording, so that something else can be read like one."""

from typing import Protocol

from riffusion.audio.waveform import Waveform


class Sound(Protocol):
    """Any part of its samples, on demand."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def num_channels(self) -> int: ...

    @property
    def num_samples(self) -> int: ...

    def waveform(self, start: int, stop: int, /) -> Waveform:
        """Samples from `start` to `stop`: (channels, stop - start) float32 in [-1, 1]."""
        ...
