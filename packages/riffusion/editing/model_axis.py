"""Where the frames of the model's spectrograms lie in a recording, and the way there and back.

The model hears mono at its own sample rate, in frames of 10 ms. Frame n is at n · 10 ms of the
recording, whatever the recording's rate, and whatever part of it is looked at.
"""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.spectrogram.converter import SpectrogramConverter
from riffusion.spectrogram.params import SpectrogramParams

FloatArray = npt.NDArray[np.float32]

_MARGIN_S = 1
"""Sound before and after a part that is resampled with it; a whole number, so that both rates have
a sample where it starts."""


class ModelAxis:
    """The model's frames in a recording.

    Args:
        recording: the recording.
        converter: computes spectrograms with the model's parameters.
    """

    def __init__(self, recording: Recording, converter: SpectrogramConverter) -> None:
        self.recording = recording
        self.converter = converter

    @property
    def params(self) -> SpectrogramParams:
        """The model's spectrogram parameters."""
        return self.converter.p

    @property
    def num_frames(self) -> int:
        """Frames in the recording; a started one counts."""
        length = Fraction(self.recording.num_samples, self.recording.sample_rate)
        return -int(-(length / self._frame_s) // 1)

    def frame_at(self, sample: int) -> int:
        """The frame nearest to a sample of the recording."""
        return round(Fraction(sample, self.recording.sample_rate) / self._frame_s)

    def waveform(self, first: int, num_frames: int) -> Waveform:
        """The recording in mono at the model's rate, (1, num_frames · hop); silence beside it.

        Args:
            first: first frame; may be negative.
            num_frames: number of frames; may go beyond the end.
        """
        hop, rate = self.params.hop_length, self.params.sample_rate
        start, stop = first * hop, (first + num_frames) * hop
        begin_s = start // rate - _MARGIN_S  # a whole second
        end_s = -(-stop // rate) + _MARGIN_S
        found = resample(self._mono(begin_s, end_s), self.recording.sample_rate, rate)
        offset = start - begin_s * rate
        return np.ascontiguousarray(found[:, offset : offset + stop - start])

    def amplitudes(self, first: int, num_frames: int) -> FloatArray:
        """Mel amplitudes of frames, (bands, num_frames), in 16-bit units; see `waveform`."""
        margin = self.params.n_fft // (2 * self.params.hop_length) + 1
        around = self.waveform(first - margin, num_frames + 2 * margin)
        found = self.converter.spectrogram_from_waveform(around)[0]
        return np.ascontiguousarray(found[:, margin : margin + num_frames])

    def at_recordings_rate(self, waveform: Waveform, first: int, start: int, stop: int) -> Waveform:
        """Samples of the recording that correspond to a waveform at the model's rate.

        Args:
            waveform: (1, samples), silent beyond its ends.
            first: frame at which it starts.
            start, stop: wanted samples at the recording's rate.

        Returns:
            (1, stop - start).
        """
        rate, own_rate = self.params.sample_rate, self.recording.sample_rate
        offset = first * self.params.hop_length
        begin_s = min(offset // rate, start // own_rate)  # a whole second
        padded = np.pad(waveform, ((0, 0), (offset - begin_s * rate, 0)))
        found = resample(padded, rate, own_rate)[:, start - begin_s * own_rate :]
        missing = max(0, stop - start - found.shape[1])
        return np.pad(found, ((0, 0), (0, missing)))[:, : stop - start]

    @property
    def _frame_s(self) -> Fraction:
        return Fraction(self.params.hop_length, self.params.sample_rate)

    def _mono(self, begin_s: int, end_s: int) -> Waveform:
        """Whole seconds of the recording in mono; silence before its start and after its end."""
        recording = self.recording
        begin, end = begin_s * recording.sample_rate, end_s * recording.sample_rate
        start, stop = (min(max(0, at), recording.num_samples) for at in (begin, end))
        mono = with_channels(recording.waveform(start, stop), 1)
        before = min(max(0, -begin), end - begin)
        return np.pad(mono, ((0, 0), (before, end - begin - before - mono.shape[1])))
