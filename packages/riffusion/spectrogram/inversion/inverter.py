"""Mel amplitudes → waveform: estimates the phases, and the magnitudes inside the mel bands."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from riffusion.errors import InputError
from riffusion.spectrogram.inversion.ends import Ends, JoinedEnds, ReflectedEnds
from riffusion.spectrogram.inversion.filterbank import MelFilterbank
from riffusion.spectrogram.inversion.initial_phase import PeakPhases
from riffusion.spectrogram.inversion.reduced_stft import ReducedStft, StftFrames
from riffusion.spectrogram.mel_frames import MelFrames
from riffusion.spectrogram.operations import Array, Block, NumpyOperations, Operations

MAGNITUDE_UPDATES = 4
"""Updates of the initial magnitudes; eight end no better, with two or less tones lose level."""
RELAXATION = 1.25
"""Length of a step relative to the projection; the iteration diverges from 1.35 on."""
MOMENTUM = 0.95
"""Share of the last step that is added to the next; 0.9 and 1.0 converge more slowly."""
SUBSET_HOP = 0.3
"""Longest distance of a subset's frames, in windows; at 0.4 the subsets are inconsistent."""
PASSES_PER_ITERATION = 1.7
"""Passes over a subset per iteration of `num_griffin_lim_iters`. With 32 iterations, errors of 22
clips are 3 % below those of 48 passes with fine bins, relaxation 1.2 and momentum 0.9."""
FINE_PASSES = 8
"""Passes over a subset with the fine bins, after those with the coarse bins. With coarse bins to
the end, levels of narrow bands are wrong."""
FINAL_PASSES = 3
"""Last passes, which use all frames at once so that every frame counts equally."""
QUIETEST = 3e-3
"""Loudness below which frames have equal weights, relative to the clip's loudest frame: -50 dB."""
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class KnownSamples:
    """Samples of the waveform that are known already, such as those beside a section that is made.

    Args:
        waveform: `(..., frames * hop_length)` float32 at the parameters' sample rate. Its samples
            count only where they are known, but those beside them should not jump there.
        is_known: whether each sample is known, `(frames * hop_length,)` bool.
    """

    waveform: Array
    is_known: Array


class MelInverter:
    """Finds waveforms that have given mel spectrograms.

    Let S be the short-time Fourier transform, and B the sum of its magnitudes over mel bands. For
    mel amplitudes M we want x with B · |S x| = M. The method of Griffin and Lim knows |S x|, and
    projects in turn onto the spectra with these magnitudes and onto the spectra of waveforms. Here
    only sums of magnitudes are known, and errors of magnitudes fixed to a first estimate would
    remain. So the first projection changes the magnitudes only as far as the bands require: each
    bin keeps its phase and gets the mean gain M / (B · |S x|) of its bands
    (`MelFilterbank.gains`). The overlap of neighbouring frames then determines the fine structure
    inside a band. With

        P x = S⁻¹ (gains(|S x|, M) · S x)

    and relaxation γ and momentum α the iteration is that of accelerated Griffin-Lim (Perraudin,
    Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013, for γ = 1; Nenov, Nguyen, Balazs
    and Boţ, "Faster than fast: accelerating the Griffin-Lim algorithm", 2023, for its α = β):

        sₙ = (1 - γ) tₙ₋₁ + γ P tₙ₋₁
        tₙ = sₙ + α (sₙ - sₙ₋₁)

    S and S⁻¹ are linear, so s and t can be kept as waveforms, which are 20 times smaller than
    spectra. Five things make it fast:

    - S runs at a low sample rate that contains the bands, with an FFT of two windows
      (`ReducedStft`);
    - most passes use an FFT of one window, so bins twice as wide, at half the cost. For that they
      apply gains twice, which costs little beside an FFT;
    - the initial phases are estimated from the spectrogram's peaks (`PeakPhases`);
    - frames overlap by 90 %, so a third of them determines x. Each pass uses every third frame, and
      the next pass uses the frames beside these: the same number of passes at a third of the cost
      (ordered subsets, Hudson and Larkin, "Accelerated image reconstruction", 1994, section II);
    - S⁻¹ weights each frame's error by the inverse of the frame's loudness. Errors are thus
      relative, and an attack doesn't leak into the silence before it, where it would be audible.

    Known samples are put back after each pass: another projection. What is made beside them then
    continues their phases, so a join with them has neither a click nor a notch.

    Nothing is random: equal amplitudes give equal waveforms.

    Args:
        params: spectrogram parameters; `num_griffin_lim_iters` trades time for quality.
        operations: NumPy's, or PyTorch's for a GPU.
        filterbank: `PowerMelFilterbank` for mel powers in place of mel amplitudes.
    """

    def __init__(
        self,
        params: MelFrames,
        operations: Operations | None = None,
        filterbank: type[MelFilterbank] = MelFilterbank,
    ) -> None:
        self.params = params
        self._do: Operations = operations or NumpyOperations()
        self._coarse = _Bins(params, self._do, filterbank, windows_per_fft=1, num_updates=2)
        self._fine = _Bins(params, self._do, filterbank, windows_per_fft=2, num_updates=1)
        self._stft = stft = self._fine.stft
        self._num_subsets = max(1, int(SUBSET_HOP * stft.window_length / stft.hop))

    @property
    def shortest_loop(self) -> int:
        """Fewest frames of a loop: with less, a window would see the whole loop more than once."""
        return self._stft.min_frames

    def waveform_from_mel_amplitudes(
        self, amplitudes_mel: Array, known: KnownSamples | None = None, circular: bool = False
    ) -> Array:
        """Invert mel spectrograms, with all leading dimensions as one batch.

        The waveform's mel spectrogram has the level of `amplitudes_mel`. The absolute phase and the
        detail inside bands and windows are lost. A spectrogram shorter than the window is inverted
        as if its last frame were repeated.

        Args:
            amplitudes_mel: `(..., num_frequencies, frames)` of any floating-point type, each at
                least 0; an array or a tensor.
            known: samples that the waveforms are to have, up to the error of the last pass.
            circular: whether the spectrograms are those of loops. The waveforms then repeat
                without a seam. With fewer frames than `shortest_loop` it makes no difference.

        Returns:
            `(..., frames * hop_length)` float32, not limited to [-1, 1]: an array for an array, and
            for a tensor a tensor on the device of the computation.

        Raises:
            InputError: another shape, or an amplitude that is negative, infinite or NaN.
        """
        num_bands = self.params.num_frequencies
        shape = tuple(amplitudes_mel.shape)
        if len(shape) < 2 or shape[-2] != num_bands or 0 in shape:
            raise InputError(
                f"amplitudes_mel.shape={shape} must be (..., {num_bands}, frames) with at least "
                "one frame; num_frequencies in the spectrogram parameters is the number of bands"
            )
        with self._do.without_gradients():
            clips = self._do.floats(amplitudes_mel).reshape(-1, num_bands, shape[-1])
            lowest, highest = float(clips.min()), float(clips.max())
            if not (lowest >= 0 and highest < float("inf")):  # NaN fails both
                raise InputError(
                    f"amplitudes_mel from {lowest} to {highest} must be finite float32 and at "
                    "least 0; clamp or replace the values"
                )
            is_loop = circular and shape[-1] >= self.shortest_loop
            ends: Ends = JoinedEnds() if is_loop else ReflectedEnds()
            pinned = None if known is None else self._pinned(known, len(clips), shape[-1], ends)
            waveforms = [
                self._invert(clips[part], ends, None if pinned is None else pinned[part])
                for part in self._parts(len(clips), shape[-1])
            ]
            joined = self._do.joined(waveforms, 0)
            waveform = joined.reshape(*shape[:-2], shape[-1] * self.params.hop_length)
            return self._do.as_given(waveform, amplitudes_mel)

    def _parts(self, num_clips: int, num_frames: int) -> Iterator[slice]:
        """Clips that are inverted together."""
        at_once = max(1, self._do.frames_at_once // num_frames)
        return (slice(first, first + at_once) for first in range(0, num_clips, at_once))

    def _pinned(self, known: KnownSamples, num_clips: int, num_frames: int, ends: Ends) -> _Pinned:
        """Known samples at the reduced rate.

        Raises:
            InputError: a shape that doesn't belong to the amplitudes.
        """
        num_samples = num_frames * self.params.hop_length
        shapes = tuple(known.waveform.shape), tuple(known.is_known.shape)
        if shapes[0][-1:] != (num_samples,) or shapes[1] != (num_samples,):
            raise InputError(
                f"known samples of shapes {shapes[0]} and {shapes[1]} must be "
                f"(..., {num_samples}) and ({num_samples},), as long as the amplitudes"
            )
        do, missing = self._do, max(0, self._stft.min_frames - num_frames)
        waveform = do.floats(known.waveform).reshape(num_clips, -1)
        padded = do.zeros_appended(waveform, missing * self.params.hop_length)
        is_known = do.zeros_appended(do.floats(known.is_known), missing * self.params.hop_length)
        return _Pinned(self._stft.reduced(padded, ends), self._stft.reduced_mask(is_known) > 0, do)

    def _invert(self, amplitudes: Array, ends: Ends, pinned: _Pinned | None = None) -> Array:
        """Invert some clips: `(clips, bands, frames)` → `(clips, frames * hop_length)`."""
        do, num_frames = self._do, amplitudes.shape[2]
        missing = max(0, self._stft.min_frames - num_frames)
        amplitudes = do.joined([amplitudes] + [amplitudes[..., -1:]] * missing, 2)
        level = do.functions.amax(amplitudes, (1, 2)).clip(min=_SMALLEST)
        target = do.floats((amplitudes / level[:, None, None]).swapaxes(1, 2))
        frame_weights = self._frame_weights(target)
        pin: Callable[[Array], Array] = (
            (lambda waveform: waveform) if pinned is None else pinned.scaled(1 / level)
        )

        chosen = [slice(first, None, self._num_subsets) for first in range(self._num_subsets)]
        fine = [_FrameSubset(target, self._fine, frame_weights, ends, frames) for frames in chosen]
        coarse = [subset.with_bins(self._coarse) for subset in fine]
        all_frames = _FrameSubset(target, self._fine, frame_weights, ends, slice(None))

        spectrum_of = self._first_estimate(target)
        num_passes = round(PASSES_PER_ITERATION * self.params.num_griffin_lim_iters)
        if num_passes > 0:
            estimate = pin(all_frames.frames.waveform_from_spectra(spectrum_of))
            last = estimate + 0
        for index in range(num_passes):
            remaining = num_passes - index
            if remaining <= FINAL_PASSES:
                subset = all_frames
            else:
                is_fine = remaining <= FINAL_PASSES + FINE_PASSES
                subset = (fine if is_fine else coarse)[index % self._num_subsets]
            spectrum_of = subset.corrected(estimate)
            if remaining == 1:
                break  # the waveform is made of this spectrum, at the full rate
            projection = subset.frames.waveform_from_spectra(spectrum_of)
            projection *= RELAXATION
            estimate *= 1 - RELAXATION
            projection += estimate
            step = pin(projection)
            last *= -MOMENTUM
            last += (1 + MOMENTUM) * step
            estimate, last = last, step
        waveform = self._stft.full_rate_waveform_from_spectra(spectrum_of, frame_weights, ends)
        return waveform[:, : num_frames * self.params.hop_length] * level[:, None]

    def _first_estimate(self, target: Array) -> Callable[[Block], Array]:
        """The first spectrum of a block of frames, for `(clips, frames, bands)`."""
        do, stft = self._do, self._stft
        magnitudes = do.zeros(*target.shape[:2], stft.num_bins)

        def estimate_magnitudes(block: Block) -> None:
            magnitudes[block] = self._fine.filterbank.magnitudes_from_mel(
                target[block], MAGNITUDE_UPDATES
            )

        do.in_blocks(estimate_magnitudes, *target.shape[:2])
        phases = PeakPhases(magnitudes, stft.hop, stft.window_length, stft.n_fft, do)
        return lambda block: do.polar(magnitudes[block], phases[block])

    def _frame_weights(self, target: Array) -> Array:
        """Inverse relative loudness: `(clips, frames, bands)` → `(clips, frames)`, 1 to 333."""
        loudness = (target * target).sum(2) ** 0.5
        loudest = self._do.functions.amax(loudness, (1,))[:, None].clip(min=_SMALLEST)
        return 1 / (loudness / loudest + QUIETEST)


class _Pinned:
    """Known samples of some clips at the reduced rate.

    Args:
        waveform: (clips, samples).
        is_known: (samples,) bool.
        operations: those of the waveform.
    """

    def __init__(self, waveform: Array, is_known: Array, operations: Operations) -> None:
        self._waveform = waveform
        self._is_known = is_known
        self._do = operations

    def __getitem__(self, clips: slice) -> _Pinned:
        """Those of some of the clips."""
        return _Pinned(self._waveform[clips], self._is_known, self._do)

    def scaled(self, factor: Array) -> Callable[[Array], Array]:
        """A function that puts them back, times a factor for each clip, into waveforms."""
        scaled = self._waveform * factor[:, None]
        return lambda waveform: self._do.functions.where(self._is_known, scaled, waveform)


class _Bins:
    """The bins of one FFT length: the transform, and the mel bands of its bins.

    Args:
        params: the spectrogram's frames and mel bands.
        operations: those of the arrays.
        filterbank: the kind of filterbank.
        windows_per_fft: length of the FFT in windows.
        num_updates: how often gains are applied in a pass.
    """

    def __init__(
        self,
        params: MelFrames,
        operations: Operations,
        filterbank: type[MelFilterbank],
        windows_per_fft: float,
        num_updates: int,
    ) -> None:
        self.stft = ReducedStft(params, operations, windows_per_fft)
        self.filterbank = filterbank(params, self.stft.bin_hz, self.stft.num_bins, operations)
        self._num_updates = num_updates

    def gains(self, spectrum: Array, target: Array) -> Array:
        """Gains of a spectrum `(..., bins)` towards mel amplitudes `(..., bands)`."""
        magnitudes = abs(spectrum)
        gains = self.filterbank.gains(magnitudes, target)
        for _ in range(self._num_updates - 1):
            magnitudes *= gains
            gains = gains * self.filterbank.gains(magnitudes, target)
        return gains


class _FrameSubset:
    """Some frames of the clips: their target mel amplitudes and their transform."""

    def __init__(
        self, target: Array, bins: _Bins, frame_weights: Array, ends: Ends, chosen: slice
    ) -> None:
        self._target = target[:, chosen]
        self._bins = bins
        self.frames: StftFrames = bins.stft.frames(frame_weights, ends, chosen)

    def with_bins(self, bins: _Bins) -> _FrameSubset:
        """The same frames with another FFT."""
        other = copy.copy(self)
        other._bins = bins
        other.frames = self.frames.with_n_fft(bins.stft.n_fft)
        return other

    def corrected(self, waveform: Array) -> Callable[[Block], Array]:
        """The spectrum of a block of the frames, with gains towards the target."""
        windows = self.frames.windows_of(waveform)

        def corrected(block: Block) -> Array:
            spectrum = self.frames.spectrum(windows[block])
            spectrum *= self._bins.gains(spectrum, self._target[block])
            return spectrum

        return corrected
