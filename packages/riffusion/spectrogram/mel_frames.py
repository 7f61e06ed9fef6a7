"""What the inversion needs to know about a spectrogram: its frames, and its mel bands."""

from typing import Protocol


class MelFrames(Protocol):
    """Frames in samples and mel bands in Hz. `SpectrogramParams` are such frames.

    Attributes:
        sample_rate: in Hz.
        n_fft: length of the FFT in samples.
        win_length: length of the Hann window in samples, at most `n_fft`.
        hop_length: samples from one frame to the next.
        num_frequencies: number of mel bands.
        min_frequency, max_frequency: range of the mel bands in Hz.
        mel_scale_norm: None, or `slaney` for bands of equal area.
        mel_scale_type: `htk` or `slaney`.
        num_griffin_lim_iters: iterations of the phase reconstruction.
    """

    @property
    def sample_rate(self) -> int: ...
    @property
    def n_fft(self) -> int: ...
    @property
    def win_length(self) -> int: ...
    @property
    def hop_length(self) -> int: ...
    @property
    def num_frequencies(self) -> int: ...
    @property
    def min_frequency(self) -> float: ...
    @property
    def max_frequency(self) -> float: ...
    @property
    def mel_scale_norm(self) -> str | None: ...
    @property
    def mel_scale_type(self) -> str: ...
    @property
    def num_griffin_lim_iters(self) -> int: ...
