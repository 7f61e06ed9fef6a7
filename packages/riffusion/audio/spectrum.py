"""The spectrum of a whole segment, and its plot (upstream's `riffusion.util.fft_util`)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from riffusion.audio import AudioSegment, waveform_from_segment
from riffusion.audio.upstream import FULL_SCALE


def plot_ffts(
    segments: Mapping[str, AudioSegment],
    title: str = "FFT",
    min_frequency: float = 20,
    max_frequency: float = 20000,
) -> None:
    """Plot the spectra of segments, with one labelled line per segment, in a matplotlib window."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    for name, segment in segments.items():
        axes.plot(*compute_fft(segment), label=name)
    axes.set(
        title=title,
        xscale="log",
        xlim=(min_frequency, max_frequency),
        xlabel="frequency in Hz",
        ylabel="amplitude",
    )
    axes.legend()
    pyplot.show()


def compute_fft(
    sound: AudioSegment,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Spectrum of a segment, mixed to mono.

    Returns:
        Frequencies in Hz and amplitudes of 16-bit samples, both (samples // 2 + 1,).
    """
    mono = waveform_from_segment(sound).astype(np.float64).mean(axis=0) * FULL_SCALE
    return np.fft.rfftfreq(mono.size, d=1 / sound.frame_rate), np.abs(np.fft.rfft(mono))
