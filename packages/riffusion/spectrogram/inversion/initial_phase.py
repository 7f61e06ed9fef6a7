"""Initial phases for a magnitude spectrogram, estimated from its peaks in one pass."""

from __future__ import annotations

import math

import torch

PEAK_RADIUS = 2
"""A peak is the maximum of this many bins to each side: half of a Hann window's main lobe."""
ONSET_GROWTH = 0.5
"""Growth of a peak from one frame to the next, in nepers, above which it is an onset."""
SILENCE = 1e-9
"""Added to magnitudes before the logarithm; the largest magnitude is about 1."""
GOLDEN_RATIO = 0.6180339887498949
"""Its products with the square numbers, modulo 1, are evenly distributed (Weyl, 1916)."""


def phases_from_magnitudes(
    magnitudes: torch.Tensor, hop: int, window_length: int, n_fft: int
) -> torch.Tensor:
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

    Args:
        magnitudes: `(clips, frames, bins)`, at most about 1.
        hop, window_length, n_fft: in samples.

    Returns:
        `(clips, frames, bins)` in radians.
    """
    _, num_frames, num_bins = magnitudes.shape
    flat = magnitudes.reshape(-1)  # all frames of all clips, one after the other
    rows, bins = _peaks(magnitudes.flatten(0, 1))
    peaks, frames = rows * num_bins + bins, rows % num_frames
    regions = _regions(peaks, bins, flat.shape[0])

    def log_magnitudes(positions: torch.Tensor) -> torch.Tensor:
        return (flat[positions.clamp(0, flat.shape[0] - 1)] + SILENCE).log_()

    level = log_magnitudes(peaks)
    below, above = log_magnitudes(peaks - 1), log_magnitudes(peaks + 1)
    curvature = (below - 2 * level + above).clamp_(max=-1e-6)
    offset = (0.5 * (below - above) / curvature).clamp_(-0.5, 0.5)
    offset = torch.where((bins == 0) | (bins == num_bins - 1), 0, offset)
    cycles_per_hop = (bins + offset) * (hop / n_fft)

    is_first, is_last = frames == 0, frames == num_frames - 1
    earlier = torch.where(is_first, level, log_magnitudes(peaks - num_bins))
    later = torch.where(is_last, level, log_magnitudes(peaks + num_bins))
    growth = torch.where(is_first | is_last, 0, 0.5 * (later - earlier))
    delay = torch.atan(growth * (window_length / (2 * math.pi * hop))) * (window_length / math.pi)

    # A peak's parent is the region of its bin one frame earlier; an onset is its own parent.
    is_onset = is_first | (level - earlier > ONSET_GROWTH)
    parents = regions[torch.where(is_onset, peaks, peaks - num_bins)]
    # In the first frame, equal phases would add up to a click at the clip's start, and phases that
    # are linear in frequency to a click a little later. Quadratic phases spread it over the frame.
    spread_out = (bins.double().square() * GOLDEN_RATIO).remainder_(1)
    start = torch.where(is_first, spread_out.to(delay.dtype), -delay * bins / n_fft)
    advance = 0.5 * (cycles_per_hop + cycles_per_hop[parents])
    advance -= delay[parents] * (bins - bins[parents]) / n_fft
    phase = _sums_from_roots(start, advance, parents, num_frames)

    def over_regions(values: torch.Tensor) -> torch.Tensor:
        return values.index_select(0, regions).view_as(magnitudes)

    # The FFT counts time from the frame's first sample, half a window before its centre.
    cycles_per_bin = -(delay + window_length // 2) / n_fft
    cycles_at_zero = (phase + bins * (delay / n_fft)).remainder_(1)
    all_bins = torch.arange(num_bins, device=magnitudes.device)
    cycles = torch.addcmul(over_regions(cycles_at_zero), over_regions(cycles_per_bin), all_bins)
    return cycles.mul_(2 * math.pi)


def _peaks(magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and bins of the peaks of `(frames, bins)` in ascending order, at least one per frame.

    A frame's maximum is a peak, unless the frame is silent.
    """
    highest = torch.nn.functional.max_pool1d(magnitudes, 2 * PEAK_RADIUS + 1, 1, PEAK_RADIUS)
    is_peak = (magnitudes == highest) & (magnitudes > 0)
    is_peak[:, 0] |= magnitudes.amax(1) == 0  # a silent frame is one region
    frames, bins = is_peak.nonzero().unbind(1)
    return frames, bins


def _regions(peaks: torch.Tensor, bins: torch.Tensor, end: int) -> torch.Tensor:
    """Index of the peak to whose region a position belongs, for all positions up to `end`.

    Edges of the regions are half-way between two peaks of a frame, and at the start of each frame.
    """
    frame_starts = peaks - bins
    half_way = (peaks[1:] + peaks[:-1] + 1) // 2
    inner = torch.where(frame_starts[1:] == frame_starts[:-1], half_way, frame_starts[1:])
    edges = torch.cat([peaks.new_zeros(1), inner, peaks.new_full((1,), end)])
    return torch.repeat_interleave(edges.diff(), output_size=end)


def _sums_from_roots(
    start: torch.Tensor, advance: torch.Tensor, parents: torch.Tensor, longest_chain: int
) -> torch.Tensor:
    """For each node, its root's `start` plus the `advance` (modulo 1) of all nodes on the path.

    A root is its own parent. Pointer jumping: each round adds the partial sum of the ancestor at
    which a node's own partial sum ends, so the sums cover twice as many ancestors. This takes
    log2(frames) rounds instead of a loop over frames (Hillis and Steele, "Data parallel
    algorithms", 1986).
    """
    is_root = parents == torch.arange(parents.shape[0], device=parents.device)
    sums = torch.where(is_root, 0, advance).remainder_(1)
    reach = 1
    while reach < longest_chain:
        sums = (sums + sums[parents]).remainder_(1)
        parents = parents[parents]
        reach *= 2
    return sums + start[parents]
