"""Mel amplitudes → sound that continues what is beside it, in parts of some seconds."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from riffusion.audio.effects import crossfaded
from riffusion.audio.waveform import Waveform
from riffusion.editing.model_axis import ModelAxis
from riffusion.spectrogram.converter import FULL_SCALE
from riffusion.spectrogram.inversion.inverter import KnownSamples

FloatArray = npt.NDArray[np.float32]
Target = Callable[[int, int], FloatArray]
"""Mel amplitudes (bands, number) of a number of frames from a first one on, in 16-bit units."""

_FRAMES_AT_ONCE = 1024
"""Frames of a part: about 10 s."""
_CONTEXT_FRAMES = 32
"""Frames beside a part that are inverted with it: three windows."""
_JOIN_S = 0.02
"""Crossfade from one part's continuation to the next part."""


def rendered(
    axis: ModelAxis,
    target: Target,
    first: int,
    num_frames: int,
    *,
    continues_before: bool = True,
    continues_after: bool = True,
) -> Iterator[Waveform]:
    """Sound with given mel amplitudes, in parts that follow each other without a seam.

    Each part continues the phases of the one before, and the first and the last those of the
    recording beside them.

    Args:
        axis: the recording.
        target: mel amplitudes; also those of the frames just beside, where sound continues.
        first: the first frame.
        num_frames: number of frames, at least 1.
        continues_before, continues_after: whether the recording continues beside the frames.

    Yields:
        (1, samples) at the model's rate; all together have `num_frames` hops.
    """
    rate, hop, end = axis.params.sample_rate, axis.params.hop_length, first + num_frames
    heard: Waveform | None = None  # sound around the next part's start
    for start in range(first, end, _FRAMES_AT_ONCE):
        stop = min(start + _FRAMES_AT_ONCE, end)
        is_first, is_last = start == first, stop == end
        before = _CONTEXT_FRAMES if continues_before or not is_first else 0
        after = _CONTEXT_FRAMES if continues_after or not is_last else 0
        begin, length = start - before, before + stop - start + after
        sound = np.zeros((1, length * hop), np.float32)
        is_known = np.zeros(length * hop, bool)
        if before:
            heard = axis.waveform(begin, 2 * before) if heard is None else heard
            count = min(heard.shape[1], sound.shape[1])
            sound[:, :count] = heard[:, :count]
            is_known[: before * hop] = True
        if is_last and after:
            inside = min(after, stop - start)
            beside = axis.waveform(stop - inside, inside + after)
            sound[:, -beside.shape[1] :] = beside
            is_known[-after * hop :] = True
        made = _inverted(axis, target(begin, length), sound, is_known)
        if heard is not None and not is_first:  # the known samples are met only nearly
            join = slice(before * hop, min(before * hop + round(_JOIN_S * rate), heard.shape[1]))
            made[:, join] = crossfaded(heard[:, join], made[:, join])
        yield made[:, before * hop : (before + stop - start) * hop]
        overlap = (before + stop - start - _CONTEXT_FRAMES) * hop
        heard = made[:, max(0, overlap) :]


def _inverted(
    axis: ModelAxis, amplitudes: FloatArray, sound: Waveform, is_known: npt.NDArray[np.bool_]
) -> Waveform:
    known = KnownSamples(sound, is_known) if is_known.any() else None
    scaled = amplitudes[None] / np.float32(FULL_SCALE)
    waveform: Waveform = axis.converter.waveform_from_mel_amplitudes(scaled, known)
    return waveform
