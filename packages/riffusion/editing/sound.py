"""What edits need of a recording, so that something else can be read like one."""

from typing import Protocol

from riffusion.audio.waveform import Audio, Waveform


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


class SoundInMemory:
    """A short sound whose samples are in memory."""

    def __init__(self, audio: Audio) -> None:
        self._audio = audio
        self.sample_rate = audio.sample_rate
        self.num_channels = audio.num_channels
        self.num_samples = audio.num_samples

    def waveform(self, start: int, stop: int, /) -> Waveform:
        """Samples from `start` to `stop`: (channels, stop - start)."""
        return self._audio.waveform[:, start:stop]
