"""Drums, bass and harmonic sounds of a recording, by their shapes in the spectrogram.

A sustained tone is a horizontal line in a spectrogram, a hit is a vertical one. A median over time
keeps the first and removes the second; a median over frequency does the reverse (Fitzgerald,
"Harmonic/percussive separation using median filtering", DAFx 2010). With H and P, the two medians
of the amplitudes A, every bin goes to both in proportion to

    harmonic  H² / (H² + (βP)²)        percussive  P² / (P² + (βH)²)

With β above 1, a bin where neither is clearly stronger goes partly to neither: the residual, such
as noise and reverberation (Driedger, Müller, Disch, "Extending harmonic-percussive separation of
audio signals", ISMIR 2014, with soft masks in place of their hard ones).

A bass drum has a pitch and no more than a few bins, so below 250 Hz a median over frequency
removes it. There, a hit is what rises above the median over time: the harmonic mask is (H / A)²,
at most 1, and the percussive one is the rest. The bass is the low band of the harmonic part.

No library that is used here does this in parts: librosa's `decompose.hpss` filters the whole
spectrogram at once, and compiles itself at its first use.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported at their first use

from riffusion.audio.recording import Recording

Amplitudes = npt.NDArray[np.float32]
"""(frequencies, frames)."""

_HOP_S = 1536 / 44_100
_OVERLAP = 4
"""Frames that contain a sample. The squares of their Hann windows add up to 3/2."""
_MEDIAN_S = 0.3
_MEDIAN_HZ = 500.0
_LOW_BAND_HZ = 250.0
_SEPARATION_FACTOR = 1.5
"""β of the docstring above."""
_BASS_HZ, _NO_BASS_HZ = 160.0, 200.0
"""The bass ends between these two frequencies; no guitar or voice has much below."""
_NUM_BLOCKS = 256
"""Hops that are separated at once, about 9 s."""
_TINY = 1e-20


class SpectralSeparator:
    """Takes a recording apart without a neural network; see `stems.Separator`.

    Args:
        num_blocks: hops that are separated at once; the result doesn't depend on it.
    """

    names: ClassVar[tuple[str, ...]] = ("drums", "bass", "harmonic", "residual")

    def __init__(self, num_blocks: int = _NUM_BLOCKS) -> None:
        self._num_blocks = num_blocks

    def __call__(self, recording: Recording) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks (3, channels, samples) of drums, bass and harmonic sounds, in order."""
        stft = _Stft(recording)
        num_blocks = -(-recording.num_samples // stft.hop)
        num_frames = num_blocks + _OVERLAP - 1
        half = round(_MEDIAN_S / _HOP_S / 2)
        for first in range(0, num_blocks, self._num_blocks):
            count = min(self._num_blocks, num_blocks - first)
            # The frames that the blocks need, and those that their medians need.
            start, stop = first, first + count + _OVERLAP - 1
            low, high = max(0, start - half), min(num_frames, stop + half)
            spectrum = stft.frames(low, high)
            amplitudes = np.sqrt(np.mean(np.abs(spectrum) ** 2, axis=0))
            masks = _masks(
                amplitudes,
                (half - (start - low), half - (high - stop)),
                slice(start - low, stop - low),
                recording.sample_rate / stft.length,
            )
            inner = spectrum[:, :, start - low : stop - low]
            samples = np.stack([stft.samples(inner * mask) for mask in masks])
            yield samples[..., : recording.num_samples - first * stft.hop]


class _Stft:
    """Frames of a recording. Frame 0 ends with the recording's first hop; silence is around."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        hop = max(1, round(_HOP_S * recording.sample_rate))
        self.hop = int(scipy.fft.next_fast_len(hop, real=True))
        self.length = _OVERLAP * self.hop
        phase = 2 * np.pi * np.arange(self.length) / self.length
        self._window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)

    def frames(self, start: int, stop: int) -> npt.NDArray[np.complex64]:
        """Spectra (channels, frequencies, stop - start) of the frames from `start` to `stop`."""
        first = (start - _OVERLAP + 1) * self.hop
        last = stop * self.hop
        low, high = max(0, first), min(last, self._recording.num_samples)
        padding = ((0, 0), (low - first, last - high))
        waveform = np.pad(self._recording.waveform(low, high), padding)
        windows = np.lib.stride_tricks.sliding_window_view(waveform, self.length, axis=1)
        spectra = scipy.fft.rfft(windows[:, :: self.hop] * self._window, axis=2)
        return np.asarray(spectra.transpose(0, 2, 1), dtype=np.complex64)

    def samples(self, spectrum: npt.NDArray[np.complex64]) -> npt.NDArray[np.float32]:
        """The samples that all of their frames are in: (channels, samples)."""
        frames = scipy.fft.irfft(spectrum, self.length, axis=1).transpose(0, 2, 1) * self._window
        num_channels, num_frames, _ = frames.shape
        pieces = frames.reshape(num_channels, num_frames, _OVERLAP, self.hop)
        num_blocks = num_frames - _OVERLAP + 1
        total = np.zeros((num_channels, num_blocks, self.hop), np.float32)
        for k in range(_OVERLAP):  # frame f has hop k of block f + k - 3
            total += pieces[:, _OVERLAP - 1 - k : _OVERLAP - 1 - k + num_blocks, k]
        return np.asarray(total.reshape(num_channels, -1) / 1.5, dtype=np.float32)


def _masks(
    amplitudes: Amplitudes, padding: tuple[int, int], inner: slice, bin_hz: float
) -> tuple[Amplitudes, Amplitudes, Amplitudes]:
    """Masks of drums, bass and harmonic sounds for the frames in `inner`.

    Args:
        amplitudes: of these frames and of those around them.
        padding: frames missing before and after, at the ends of the recording; they are mirrored.
        inner: the frames to make masks for.
        bin_hz: distance of two frequencies.
    """
    half = padding[0] + inner.start
    padded = np.pad(amplitudes, ((0, 0), padding), mode="symmetric")
    sustained = _median_of_rows(padded, half)
    amplitudes = amplitudes[:, inner]
    half = min(round(_MEDIAN_HZ / bin_hz / 2), len(amplitudes) - 1)
    rows = np.pad(amplitudes.T, ((0, 0), (half, half)), mode="symmetric")
    hits = _median_of_rows(rows, half).T
    h, p = sustained**2, hits**2
    factor = _SEPARATION_FACTOR**2
    harmonic: Amplitudes = np.asarray(h / (h + factor * p + _TINY), dtype=np.float32)
    drums: Amplitudes = np.asarray(p / (p + factor * h + _TINY), dtype=np.float32)
    low = round(_LOW_BAND_HZ / bin_hz)
    harmonic[:low] = np.minimum(h[:low] / (amplitudes[:low] ** 2 + _TINY), 1)
    drums[:low] = 1 - harmonic[:low]
    bass = _bass_gains(len(amplitudes), bin_hz)[:, None]
    bass_mask: Amplitudes = harmonic * bass
    return drums, bass_mask, harmonic - bass_mask


def _median_of_rows(rows: Amplitudes, half: int) -> Amplitudes:
    """Medians of 2 · half + 1 neighbours in each row; `half` columns at either end are left out.

    All rows are filtered as one, since SciPy is 15 times as fast on one dimension.
    """
    flat = np.ascontiguousarray(rows).ravel()
    medians = scipy.ndimage.median_filter(flat, 2 * half + 1).reshape(rows.shape)
    return np.asarray(medians[:, half : rows.shape[1] - half])


def _bass_gains(num_bins: int, bin_hz: float) -> npt.NDArray[np.float32]:
    """Gain of the bass per frequency: 1, then a raised cosine, then 0."""
    frequencies = np.arange(num_bins) * bin_hz
    position = np.clip((frequencies - _BASS_HZ) / (_NO_BASS_HZ - _BASS_HZ), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * position), dtype=np.float32)
