"""First phases for a spectrogram of magnitudes, read off its peaks in one pass."""

from __future__ import annotations

import math

import torch

PEAK_RADIUS = 2
"""A peak is the largest of this many bins to either side: half of a Hann window's main lobe."""
GAMMA = 0.25645
"""γ / window_length² of the Gaussian that is closest to a Hann window (Průša, table 1)."""
MAX_GROWTH = 1.0
"""Largest growth of a column to the next that is believed, in nepers."""
SILENCE = 1e-9
"""Added to magnitudes before their logarithm, relative to a loudest one of about 1."""


def phases_from_magnitudes(
    magnitudes: torch.Tensor, hop: int, window_length: int, n_fft: int
) -> torch.Tensor:
    """Phases under which the magnitudes of neighbouring frames and bins fit together.

    A partial of frequency f that is centred in a Hann window has one phase θ over its whole main
    lobe, if time is counted from the window's centre; its main lobe peaks at f; and from one frame
    to the next θ advances by f · hop cycles. So each frame is cut into regions around its peaks, as
    a phase-locked vocoder does it (Laroche and Dolson, "Improved phase vocoder time-scale
    modification of audio", 1999, section III), a parabola through the peak's log-magnitudes gives
    f, and the peak goes on from the peak q of the region that its bin was in one frame before:

        θ[n, p] = θ[n - 1, q] + hop · (f[n, p] + f[n - 1, q]) / 2

    A partial that grows has its energy late in the window, and a delay by t turns the phase by
    -f · t cycles. For the Gaussian nearest to the window the delay follows from the growth alone
    (Průša, Balazs and Søndergaard, "A noniterative method for reconstruction of phase from STFT
    magnitude", 2017, equation 17, in radians):

        ∂θ / ∂ω = -γ · ∂ log|X| / ∂t,    γ = 0.25645 · window_length²

    Finally, the FFT counts time from the frame's first sample, half a window before its centre.

    Args:
        magnitudes: `(clips, frames, bins)`, the loudest about 1.
        hop, window_length, n_fft: in samples.

    Returns:
        `(clips, frames, bins)` in radians.
    """
    num_clips, num_frames, num_bins = magnitudes.shape
    flat = magnitudes.reshape(-1)  # all frames of all clips in a row
    peaks = _peaks(magnitudes)
    bins = peaks % num_bins
    frames = peaks // num_bins

    def log_magnitudes(positions: torch.Tensor) -> torch.Tensor:
        return (flat[positions] + SILENCE).log_()

    peak = log_magnitudes(peaks)
    below = log_magnitudes((peaks - 1).clamp_(min=0))
    above = log_magnitudes((peaks + 1).clamp_(max=flat.shape[0] - 1))
    curvature = (below - 2 * peak + above).clamp_(max=-1e-6)
    offset = (0.5 * (below - above) / curvature).clamp_(-0.5, 0.5)
    cycles_per_hop = (bins + offset) * (hop / n_fft)

    # Which region a peak's bin was in one frame before; a clip's first peaks go on from themselves.
    edges = _region_edges(peaks, num_bins, flat.shape[0])
    is_first = frames % num_frames == 0
    parents = torch.searchsorted(edges, peaks - num_bins, right=True) - 1
    parents = torch.where(is_first, torch.arange(peaks.shape[0], device=peaks.device), parents)
    advance = 0.5 * (cycles_per_hop + cycles_per_hop[parents])
    phase = _sum_over_ancestors(torch.where(is_first, 0, advance), parents, num_frames)

    is_inner = ~is_first & (frames % num_frames != num_frames - 1)
    earlier = log_magnitudes(torch.where(is_inner, peaks - num_bins, peaks))
    later = log_magnitudes(torch.where(is_inner, peaks + num_bins, peaks))
    growth = (0.5 * (later - earlier)).clamp_(-MAX_GROWTH, MAX_GROWTH)
    delay = growth * (GAMMA * window_length**2 / hop)
    cycles_per_bin = -(delay + window_length // 2) / n_fft

    def over_regions(values: torch.Tensor) -> torch.Tensor:
        spread = torch.repeat_interleave(values, edges.diff(), output_size=flat.shape[0])
        return spread.view_as(magnitudes)

    # θ holds at the peak and counts from the centre; from the first sample it is less by
    # bin · (window_length // 2) / n_fft, and away from the peak the delay tilts it.
    at_zero = (phase + bins * (delay / n_fft)).remainder_(1)
    all_bins = torch.arange(num_bins, device=magnitudes.device)
    cycles = torch.addcmul(over_regions(at_zero), over_regions(cycles_per_bin), all_bins)
    return cycles.mul_(2 * math.pi)


def _peaks(magnitudes: torch.Tensor) -> torch.Tensor:
    """Positions of local maxima along the last axis, in the flattened tensor; one per frame at
    least."""
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


def _sum_over_ancestors(
    values: torch.Tensor, parents: torch.Tensor, longest_chain: int
) -> torch.Tensor:
    """Each value plus those of its parent, its parent's parent and so on, modulo 1.

    Roots are their own parents and have the value 0. Every round adds the sum so far of the
    ancestor at which it ends, so that it reaches twice as far: no loop over frames (Hillis and
    Steele, "Data parallel algorithms", 1986).
    """
    reach = 1
    while reach < longest_chain:
        values = (values + values[parents]).remainder_(1)
        parents = parents[parents]
        reach *= 2
    return values
