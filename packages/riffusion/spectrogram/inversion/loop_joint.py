"""Where a loop's end meets its start: does its spectrogram continue there, and if not, no click.

A spectrogram of a loop is best inverted with `circular=True`, because its frames at the ends then
see the whole sound around the joint. But only the spectrogram of an endless repetition continues
from its last frame to its first. If one doesn't, such as that of a part of a song, frames that see
both ends would be matched with the mean of two sounds: an attack at the start would begin 30 ms
late, and between two notes would be a gap. Such a clip is inverted with its own ends, and its joint
is smoothed.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MAX_CHANGE = 0.5
"""Largest change from the last frame to the first, relative to the louder one. A click that enters
a Hann window of W seconds grows by π / W · hop of its final amplitude per frame at most: 0.31 at
the defaults. Measured: loops 0.23 to 0.32, images that the embedded checkpoint drew 0.65 to 1.25,
parts of music 0.7 to 1.3."""
SMOOTHED_S = 0.003
"""Time after the joint in which the end fades out. It is as long as a percussive attack."""


def continues_at_start(amplitudes: Floats) -> bool:
    """Whether a spectrogram's first frame can follow its last one.

    Args:
        amplitudes: mel amplitudes `(channels, frequency, time)`.
    """
    last, first = amplitudes[..., -1].astype(np.float64), amplitudes[..., 0]
    louder = max(np.linalg.norm(last), np.linalg.norm(first))
    return bool(np.linalg.norm(first - last) <= MAX_CHANGE * louder)


def with_smooth_joint(waveform: Floats, sample_rate: int) -> Floats:
    """A clip whose start follows its end without a click; all but its first 3 ms are unchanged.

    The end is continued by rotating it about the last sample, 2 x[N - 1] - x[N - 2 - n], so that
    neither value nor slope jumps. A raised cosine fades from that to the clip's own start.

    Args:
        waveform: `(channels, samples)` at `sample_rate` Hz, not limited to [-1, 1].
        sample_rate: in Hz.
    """
    num_samples = waveform.shape[-1]
    length = min(round(SMOOTHED_S * sample_rate), num_samples // 2)
    rise = np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(1, length)) ** 2
    before_last = waveform[..., num_samples - 1 - length : num_samples - 1]
    continued = 2 * waveform[..., -1:] - before_last[..., ::-1]
    smoothed = waveform.copy()
    smoothed[..., :length] = waveform[..., :length] * rise + continued * (1 - rise)
    return smoothed
