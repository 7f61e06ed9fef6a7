"""Initial phases for a magnitude spectrogram, estimated from its peaks in one pass."""

from __future__ import annotations

import math

from riffusion.spectrogram.operations import Array, Block, Operations

PEAK_RADIUS = 2
"""A peak is the maximum of this many bins to each side: half of a Hann window's main lobe."""
ONSET_GROWTH = 0.5
"""Growth of a peak from one frame to the next, in nepers, above which it is an onset."""
SILENCE = 1e-9
"""Added to magnitudes before the logarithm; the largest magnitude is about 1."""
GOLDEN_RATIO = 0.6180339887498949
"""Its products with the square numbers, modulo 1, are evenly distributed (Weyl, 1916)."""


class PeakPhases:
    """Phases that make the magnitudes of neighbouring frames and bins consistent.

    A steady partial of frequency f, seen through a Hann window, has the same phase θ over its whole
    main lobe if time is counted from the window's centre. The main lobe peaks at f, and θ advances
    by f · hop cycles per frame. So each frame is divided into regions around its peaks, as in a
    phase-locked vocoder (Laroche and Dolson, "Improved phase vocoder time-scale modification of
    audio", 1999, section III). A parabola through the log-magnitudes at the peak p gives f.

    Energy at a time t after the window's centre tilts the phase over the region's bins by
    -t / n_fft cycles per bin. The growth of the magnitude tells t: a click at time t has the
    window's value there, cos²(π t / W), as its magnitude, where W is the window's length. So the
    magnitude grows by hop · 2 π / W · tan(π t / W) nepers per frame, and

        t = W / π · atan(growth · W / (2 π hop))

    For slow growth this is the relation of time and magnitude under a Gaussian window (Průša,
    Balazs and Søndergaard, "A noniterative method for reconstruction of phase from STFT
    magnitude", 2017, section II). A peak continues the phase that its bin had in the previous
    frame, where the bin was in the region of a peak q:

        θ[n, p] = θ[n - 1, q] - t[n - 1, q] · (p - q) / n_fft + hop · (f[n, p] + f[n - 1, q]) / 2

    A peak that grows fast is an onset and doesn't depend on the previous frame. It starts with the
    phase of a click at time t, -t · p / n_fft, so that an attack is simultaneous at all
    frequencies.

    Phases are computed when they are asked for: `phases[block]` has those of a block's frames,
    `(clips, frames, bins)` in radians.

    Args:
        magnitudes: `(clips, frames, bins)`, at most about 1.
        hop, window_length, n_fft: in samples.
        operations: those of the magnitudes.
    """

    def __init__(
        self, magnitudes: Array, hop: int, window_length: int, n_fft: int, operations: Operations
    ) -> None:
        self._do = do = operations
        where = do.functions.where
        num_clips, num_frames, num_bins = magnitudes.shape
        flat = magnitudes.reshape(-1)  # all frames of all clips, one after the other
        rows, bins = _peaks(magnitudes, do)
        peaks, frames = rows * num_bins + bins, rows % num_frames
        regions = _regions(peaks, bins, len(flat), do)
        bin_numbers = do.floats(bins)

        def log_magnitudes(positions: Array) -> Array:
            return do.functions.log(flat[positions.clip(0, len(flat) - 1)] + SILENCE)

        level = log_magnitudes(peaks)
        below, above = log_magnitudes(peaks - 1), log_magnitudes(peaks + 1)
        curvature = (below - 2 * level + above).clip(max=-1e-6)
        offset = (0.5 * (below - above) / curvature).clip(-0.5, 0.5)
        offset = where((bins == 0) | (bins == num_bins - 1), 0 * offset, offset)
        cycles_per_hop = (bin_numbers + offset) * (hop / n_fft)

        is_first, is_last = frames == 0, frames == num_frames - 1
        earlier = where(is_first, level, log_magnitudes(peaks - num_bins))
        later = where(is_last, level, log_magnitudes(peaks + num_bins))
        growth = where(is_first | is_last, 0 * level, 0.5 * (later - earlier))
        steepness = growth * (window_length / (2 * math.pi * hop))
        delay = do.functions.arctan(steepness) * (window_length / math.pi)

        # A peak's parent is the region of its bin one frame earlier; an onset is its own parent.
        is_onset = is_first | (level - earlier > ONSET_GROWTH)
        parents = regions[where(is_onset, peaks, peaks - num_bins)]
        # In the first frame, equal phases would add up to a click at the clip's start, and phases
        # that are linear in frequency to a click a little later. Quadratic phases spread it over
        # the frame.
        exact_bins = do.functions.asarray(bins, dtype=do.functions.float64)
        spread_out = do.floats(_fraction(exact_bins * exact_bins * GOLDEN_RATIO, do))
        start = where(is_first, spread_out, -delay * bin_numbers / n_fft)
        advance = 0.5 * (cycles_per_hop + cycles_per_hop[parents])
        advance -= delay[parents] * (bin_numbers - bin_numbers[parents]) / n_fft
        phase = _sums_from_roots(start, advance, parents, num_frames, do)

        # The FFT counts time from the frame's first sample, half a window before its centre.
        self._cycles_per_bin = -(delay + window_length // 2) / n_fft
        self._cycles_at_zero = _fraction(phase + bin_numbers * (delay / n_fft), do)
        self._regions = regions.reshape(num_clips, num_frames, num_bins)
        self._all_bins = do.floats(do.numbers(num_bins))

    def __getitem__(self, block: Block) -> Array:
        regions = self._regions[block]
        cycles = self._cycles_per_bin[regions]
        cycles *= self._all_bins
        cycles += self._cycles_at_zero[regions]
        cycles *= 2 * math.pi
        return cycles


def _peaks(magnitudes: Array, do: Operations) -> tuple[Array, Array]:
    """Frames and bins of the peaks, at least one per frame, in ascending order.

    A frame's maximum is a peak, unless the frame is silent.

    Args:
        magnitudes: `(clips, frames, bins)`. Frames are counted through all clips.
        do: the operations.
    """
    num_clips, num_frames, _ = magnitudes.shape
    found: dict[tuple[int, int], tuple[Array, Array]] = {}

    def find(block: Block) -> None:
        part = magnitudes[block]
        is_peak = part > 0
        for distance in range(1, PEAK_RADIUS + 1):
            left, right = part[..., :-distance], part[..., distance:]
            is_peak[..., distance:] &= right >= left
            is_peak[..., :-distance] &= left >= right
        is_peak[..., 0] |= do.functions.amax(part, 2) == 0  # a silent frame is one region
        clips, frames, bins = do.where_true(is_peak)
        first_clip, first_frame = block[0].start, block[1].start
        rows = (clips + first_clip) * num_frames + (frames + first_frame)
        found[first_clip, first_frame] = rows, bins

    do.in_blocks(find, num_clips, num_frames)
    blocks = [found[start] for start in sorted(found)]
    return do.joined([rows for rows, _ in blocks], 0), do.joined([bins for _, bins in blocks], 0)


def _regions(peaks: Array, bins: Array, end: int, do: Operations) -> Array:
    """Index of the peak to whose region a position belongs, for all positions up to `end`.

    Edges of the regions are half-way between two peaks of a frame, and at the start of each frame.
    """
    frame_starts = peaks - bins
    half_way = (peaks[1:] + peaks[:-1] + 1) // 2
    inner = do.functions.where(frame_starts[1:] == frame_starts[:-1], half_way, frame_starts[1:])
    edges = do.joined([do.numbers(1), inner, do.numbers(1) + end], 0)
    return do.repeated(do.functions.diff(edges), end)


def _sums_from_roots(
    start: Array, advance: Array, parents: Array, longest_chain: int, do: Operations
) -> Array:
    """For each node, its root's `start` plus the `advance` (modulo 1) of all nodes on the path.

    A root is its own parent. Pointer jumping: each round adds the partial sum of the ancestor at
    which a node's own partial sum ends, so the sums cover twice as many ancestors. This takes
    log2(frames) rounds instead of a loop over frames (Hillis and Steele, "Data parallel
    algorithms", 1986).
    """
    is_root = parents == do.numbers(len(parents))
    sums = _fraction(do.functions.where(is_root, 0 * advance, advance), do)
    reach = 1
    while reach < longest_chain:
        sums = _fraction(sums + sums[parents], do)
        parents = parents[parents]
        reach *= 2
    return sums + start[parents]


def _fraction(values: Array, do: Operations) -> Array:
    """Values modulo 1, in a quarter of the time of NumPy's `remainder`."""
    return values - do.functions.floor(values)
