"""A piece out of clips: each takes over from the one before it, as loops do."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from riffusion.audio.effects import take_over
from riffusion.audio.pcm import waveform_from_samples
from riffusion.audio.recording import Recording
from riffusion.audio.waveform import Audio, Waveform
from riffusion.editing.splicing import Part, spliced

DEFAULT_CROSSFADE_S = 0.1


def sound_of(recording: Recording, parts: Sequence[Part]) -> Waveform:
    """The sound of an edited recording, (channels, samples), rounded as in a file.

    Args:
        recording: the recording whose rate, channels and bits it has.
        parts: its parts, which are consumed.

    Raises:
        InputError: as `spliced`.
    """
    return waveform_from_samples(np.concatenate(list(spliced(recording, parts)), axis=1))


def joined(
    clips: Iterable[Waveform], sample_rate: int, crossfade_s: float = DEFAULT_CROSSFADE_S
) -> Iterator[Waveform]:
    """The piece, clip by clip, as `join_loops` makes it: as long as all clips together.

    Args:
        clips: (channels, samples) each; two of them are in memory at the same time.
        sample_rate: theirs.
        crossfade_s: how long a clip's own beginning fades out over the next clip.

    Raises:
        InputError: channels differ, or the fade is longer than a clip.
    """
    before: Audio | None = None
    for waveform in clips:
        clip = Audio(waveform, sample_rate)
        yield (clip if before is None else take_over(before, clip, crossfade_s)).waveform
        before = clip
