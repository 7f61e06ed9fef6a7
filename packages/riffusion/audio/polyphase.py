"""Resampling by a rational ratio with a polyphase filter, as matrix products.

Let the new rate be up / down times the old one. In units of input samples, output n is at the time
n · down / up. With a lowpass filter h, which is a sinc in a Kaiser window,

    y(n) = Σ x(i) h((n · down - i · up) / up)

So h is needed at multiples of 1 / up only, and its values are computed once. When n grows by up,
the time grows by exactly `down` inputs, so the same weights come back. A block of one or more such
periods is therefore one vector of inputs times a matrix, and all blocks together are one product.
Blocks overlap by the filter's length, so they have several periods if `down` is small.

(J. O. Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/. The filter is
that of torchaudio's `sinc_interp_kaiser`.)
"""

import functools
import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

_NUM_ZEROS = 64
"""Zeros of the sinc on either side."""
_ROLLOFF = 0.9475937167399596
"""Edge of the lowpass filter, relative to half the lower rate."""
_KAISER_BETA = 14.769656459379492
"""A stop band below -140 dB. These three are the values of resampy's `kaiser_best`."""
_MAX_OUTPUTS = 1024
"""Outputs of a block of several periods; limits the matrix of weights."""
_INPUTS_PER_PRODUCT = 2**20
"""Inputs of one matrix product, with those that blocks share counted for each; 4 MB."""

Floats = npt.NDArray[np.float32]


def filter_half_width(up: int, down: int) -> int:
    """Largest distance in input samples at which an input affects an output."""
    return math.ceil(_NUM_ZEROS * max(1, down / up) / _ROLLOFF)


def resample_polyphase(signal: Floats, up: int, down: int) -> Floats:
    """Change the sample rate: (channels, T) to (channels, at least T · up / down).

    The signal is taken as silent beyond its ends.

    Args:
        signal: (channels, T).
        up, down: the new rate relative to the old one, without a common divisor. The matrix has
            about up · (down + 2 · `filter_half_width`) values, or some times as many if both are
            small.
    """
    half_width = filter_half_width(up, down)
    # With this many, two thirds of a block's inputs are shared with its neighbours.
    num_periods = max(1, min(half_width // down, _MAX_OUTPUTS // up))
    step = num_periods * down
    weights = _weights(up, down, num_periods)
    num_blocks = -(-signal.shape[1] // step)
    missing = num_blocks * step - signal.shape[1]
    padded = np.pad(signal, ((0, 0), (half_width, half_width + missing)))
    inputs = sliding_window_view(padded, len(weights), axis=1)[:, ::step]
    outputs = np.empty((len(signal), num_blocks, num_periods * up), np.float32)
    blocks_at_once = max(1, _INPUTS_PER_PRODUCT // len(weights))
    for first in range(0, num_blocks, blocks_at_once):
        part = slice(first, first + blocks_at_once)
        for channel in range(len(signal)):
            block = np.ascontiguousarray(inputs[channel, part])
            np.matmul(block, weights, out=outputs[channel, part])
    return outputs.reshape(len(signal), -1)


@functools.lru_cache(maxsize=16)
def _weights(up: int, down: int, num_periods: int) -> Floats:
    """The matrix of a block: (inputs from `filter_half_width` before it to after it, outputs)."""
    half_width = filter_half_width(up, down)
    cutoff = _ROLLOFF * min(1, up / down)
    reach = half_width * up  # in units of 1 / up input samples, as are the next two
    zeros = np.clip(np.arange(-reach, reach + 1) * (cutoff / up), -_NUM_ZEROS, _NUM_ZEROS)
    window = np.i0(_KAISER_BETA * np.sqrt(1 - (zeros / _NUM_ZEROS) ** 2)) / np.i0(_KAISER_BETA)
    lowpass = (cutoff * np.sinc(zeros) * window).astype(np.float32)
    inputs = np.arange(-half_width, half_width + num_periods * down)[:, None] * up
    distances = np.arange(num_periods * up) * down - inputs
    weights: Floats = lowpass[np.clip(distances, -reach, reach) + reach]
    return weights
