"""Where the frames of the model's spectrograms lie in a recording, and the way there and back.

The model hears mono at its own sample rate, in frames of 10 ms. Frame n is at n · 10 ms of the
recording, whatever the recording's rate, and whatever part of it is looked at.
"""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from riffusion.audio.waveform import Waveform, resample, with_channels
from riffusion.editing.sound import Sound
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

    def __init__(self, recording: Sound, converter: SpectrogramConverter) -> None:
        self.recording = recording
        self.converter = converter
        self._held_first, self._held = 0, np.zeros((0, 0), np.float32)

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
        at = first - self._held_first
        if at >= 0 and at + num_frames <= self._held.shape[1]:
            return self._held[:, at : at + num_frames].copy()
        margin = self.params.n_fft // (2 * self.params.hop_length) + 1
        around = self.waveform(first - margin, num_frames + 2 * margin)
        found = self.converter.spectrogram_from_waveform(around)[0]
        return np.ascontiguousarray(found[:, margin : margin + num_frames])

    def hold(self, first: int, last: int) -> None:
        """Compute the amplitudes of frames from `first` up to `last` once, for all later calls."""
        self._held = self.amplitudes(first, last - first)
        self._held_first = first

    def at_recordings_rate(
        self, waveforms: Iterable[Waveform], first: int, start: int, stop: int
    ) -> Iterator[Waveform]:
        """Samples of the recording that correspond to waveforms at the model's rate.

        Args:
            waveforms: (1, samples) each, one after the other; taken as silent beside them.
            first: frame at which they start.
            start, stop: wanted samples at the recording's rate, from the first frame on.

        Yields:
            (1, samples) each; all together have `stop - start` samples.
        """
        rate, own_rate = self.params.sample_rate, self.recording.sample_rate
        begin_s = first * self.params.hop_length // rate - _MARGIN_S  # a whole second
        held = np.zeros((1, first * self.params.hop_length - begin_s * rate), np.float32)
        position = start
        for waveform in itertools.chain(waveforms, [None]):
            if waveform is None:
                until = stop
                missing = (stop // own_rate + 1 + _MARGIN_S - begin_s) * rate - held.shape[1]
                waveform = np.zeros((1, max(0, missing)), np.float32)
            else:
                ready_s = begin_s + (held.shape[1] + waveform.shape[1]) // rate - _MARGIN_S
                until = min(stop, ready_s * own_rate)
            held = np.concatenate([held, waveform], axis=1)
            if until <= position:
                continue
            skipped = position - begin_s * own_rate
            yield resample(held, rate, own_rate)[:, skipped : skipped + until - position]
            position = until
            done_s = max(0, position // own_rate - _MARGIN_S - begin_s)
            held, begin_s = held[:, done_s * rate :], begin_s + done_s

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
