"""A recording whose samples are in memory; it counts how much is read at once."""

from riffusion.audio.waveform import Waveform


class RecordingInMemory:
    def __init__(self, waveform: Waveform, sample_rate: int) -> None:
        self._waveform = waveform
        self.sample_rate = sample_rate
        self.num_channels, self.num_samples = waveform.shape
        self.most_read = 0

    def waveform(self, start: int, stop: int, /) -> Waveform:
        assert 0 <= start <= stop <= self.num_samples
        self.most_read = max(self.most_read, stop - start)
        return self._waveform[:, start:stop]
