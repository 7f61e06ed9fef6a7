"""First phases for a spectrogram of magnitudes, read off its peaks in one pass."""

from __future__ import annotations

import math

import torch

PEAK_RADIUS = 2
"""A peak is the largest of this many bins to either side: half of a Hann window's main lobe."""
GROWTH_OF_ONSET = 0.5
"""Growth from a column to the next, in nepers, from which on a peak is a new sound."""
SILENCE = 1e-9
"""Added to magnitudes before their logarithm, relative to a loudest one of about 1."""
GOLDEN_RATIO = 0.6180339887498949
"""Its multiples by the square numbers, modulo 1, are spread evenly (Weyl, 1916)."""


def phases_from_magnitudes(
    magnitudes: torch.Tensor, hop: int, window_length: int, n_fft: int
) -> torch.Tensor:
    """Phases under which the magnitudes of neighbouring frames and bins fit together.

    A partial of frequency f that is centred in a Hann window has one phase θ over its whole main
    lobe, if time is counted from the window's centre; its main lobe peaks at f; and from one frame
    to the next θ advances by f · hop cycles. So each frame is cut into regions around its peaks, as
    a phase-locked vocoder does it (Laroche and Dolson, "Improved phase vocoder time-scale
    modification of audio", 1999, section III), and a parabola through the log-magnitudes at the
    peak p gives f.

    Energy that is late in the window, by t, tilts the phase over the region's bins: by -t / n_fft
    cycles a bin. What is late grows. A click t after the centre has the window's height there,
    cos²(π t / W), as its magnitude, and W is the window's length. So it grows by the hop times
    2 π / W · tan(π t / W) nepers a column, and

        t = W / π · atan(growth · W / (2 π hop))

    which for slow growth is the relation of time and magnitude under a Gaussian window (Průša,
    Balazs and Søndergaard, "A noniterative method for reconstruction of phase from STFT
    magnitude", 2017, section II). The peak goes on from the phase that its own bin had one frame
    before, in the region of a peak q:

        θ[n, p] = θ[n - 1, q] - t[n - 1, q] · (p - q) / n_fft + hop · (f[n, p] + f[n - 1, q]) / 2

    A peak that has grown fast owes its phase to no earlier frame: it starts as part of a click at
    time t, whose phase is -t · p / n_fft, so that an attack stays together over all frequencies.

    Args:
        magnitudes: `(clips, frames, bins)`, the loudest about 1.
        hop, window_length, n_fft: in samples.

    Returns:
        `(clips, frames, bins)` in radians.
    """
    _, num_frames, num_bins = magnitudes.shape
    flat = magnitudes.reshape(-1)  # all frames of all clips in a row
    peaks = _peaks(magnitudes)
    edges = _region_edges(peaks, num_bins, flat.shape[0])
    bins, frames = peaks % num_bins, peaks // num_bins % num_frames

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

    # The region that a peak's bin was in one frame before; new sounds are their own parents.
    parents = torch.searchsorted(edges, peaks - num_bins, right=True) - 1
    is_new = is_first | (level - earlier > GROWTH_OF_ONSET)
    parents = torch.where(is_new, torch.arange(peaks.shape[0], device=peaks.device), parents)
    # Equal first phases would add up to a click at the start of the clip, and phases that rise
    # evenly with frequency to one a little later; their squares spread it over the frame.
    spread_out = (bins.double().square() * GOLDEN_RATIO).remainder_(1)
    start = torch.where(is_first, spread_out.to(delay.dtype), -delay * bins / n_fft)
    advance = 0.5 * (cycles_per_hop + cycles_per_hop[parents])
    advance -= delay[parents] * (bins - bins[parents]) / n_fft
    phase = _sums_from_roots(start, advance, parents, num_frames)

    def over_regions(values: torch.Tensor) -> torch.Tensor:
        spread = torch.repeat_interleave(values, edges.diff(), output_size=flat.shape[0])
        return spread.view_as(magnitudes)

    # The FFT counts time from the frame's first sample, half a window before its centre.
    cycles_per_bin = -(delay + window_length // 2) / n_fft
    cycles_at_zero = (phase + bins * (delay / n_fft)).remainder_(1)
    all_bins = torch.arange(num_bins, device=magnitudes.device)
    cycles = torch.addcmul(over_regions(cycles_at_zero), over_regions(cycles_per_bin), all_bins)
    return cycles.mul_(2 * math.pi)


def _peaks(magnitudes: torch.Tensor) -> torch.Tensor:
    """Positions of the maxima along each frame, in the flattened tensor; at least one a frame."""
    highest = torch.nn.functional.max_pool1d(magnitudes, 2 * PEAK_RADIUS + 1, 1, PEAK_RADIUS)
    is_peak = (magnitudes == highest) & (magnitudes > 0)
    is_peak[..., 0] |= ~is_peak.any(-1)  # a silent frame is one region
    return is_peak.flatten().nonzero().squeeze(1)


def _region_edges(peaks: torch.Tensor, num_bins: int, end: int) -> torch.Tensor:
    """Where the regions around the peaks begin, and the `end` of the last.

    Half-way between neighbours, or where a new frame begins.
    """
    frame_starts = peaks - peaks % num_bins
    half_way = (peaks[1:] + peaks[:-1] + 1) // 2
    inner = torch.where(frame_starts[1:] == frame_starts[:-1], half_way, frame_starts[1:])
    return torch.cat([peaks.new_zeros(1), inner, peaks.new_full((1,), end)])


def _sums_from_roots(
    start: torch.Tensor, advance: torch.Tensor, parents: torch.Tensor, longest_chain: int
) -> torch.Tensor:
    """For each node: its root's `start` and the `advance` of all nodes from there on, modulo 1.

    A root is its own parent. Every round adds the sum so far of the ancestor at which a node's sum
    ends, so that it reaches twice as far: log2(frames) rounds instead of a loop over frames
    (Hillis and Steele, "Data parallel algorithms", 1986).
    """
    is_root = parents == torch.arange(parents.shape[0], device=parents.device)
    sums = torch.where(is_root, 0, advance).remainder_(1)
    reach = 1
    while reach < longest_chain:
        sums = (sums + sums[parents]).remainder_(1)
        parents = parents[parents]
        reach *= 2
    return sums + start[parents]
