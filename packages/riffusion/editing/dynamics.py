"""New sound follows the dynamics of the recording that it replaces: quiet verses, loud choruses.

A checkpoint draws each sound at a level of its own, and an autoencoder flattens peaks. So the
loudness is compared in stretches of about 2.56 s, and amplitudes are multiplied by what is missing,
interpolated in dB between the stretches' middles. Stretches are equally long, so that none is too
short to have a loudness; each gain follows from its stretch alone, whatever was asked for before.
New sound in silence is as loud as what is beside it.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from riffusion.editing.mel_loudness import MelLoudness
from riffusion.editing.rendering import Target
from riffusion.editing.surroundings import Bands
from riffusion.spectrogram.params import SpectrogramParams

FloatArray = npt.NDArray[np.float32]

_STRETCH_S = 2.56
_MAX_GAIN_DB = 12.0
"""More would raise the noise of sound that a checkpoint draws nearly silent."""
_SILENT_LUFS = -70.0
"""The absolute gate of BS.1770: what is quieter is silence, which isn't compared."""
_HEARD = 0.1
"""Share of a stretch's frames that are louder than silence if it isn't silent as a whole: more than
the end of what is before it."""
_IN_SILENCE_LUFS = -23.0
"""Loudness of new sound in a silent recording: the programme loudness of EBU R 128."""


class Dynamics:
    """Gains that give new amplitudes the loudness of a recording's.

    Args:
        params: the model's spectrogram parameters.
        recording, made: the recording's amplitudes and the new ones.
        first, last: the first frame that is new, and the one after the last.
        bands: which mel bands are new, (bands,); None for all. Only they are compared.
        around: the first frame, and the one after the last, of what is new and what is beside it:
            the measure where what is new replaces silence. None lowers it there to a usual
            loudness, but raises nothing.
    """

    def __init__(
        self,
        params: SpectrogramParams,
        recording: Target,
        made: Target,
        first: int,
        last: int,
        bands: Bands | None = None,
        around: tuple[int, int] | None = None,
    ) -> None:
        self._loudness = MelLoudness(params, bands)
        self._targets = recording, made
        self._first, self._last = first, last
        self._around = around
        num_frames, length = last - first, _STRETCH_S * 1000 / params.step_size_ms
        self._edges = np.linspace(0, num_frames, max(1, round(num_frames / length)) + 1).astype(int)
        self._gains_db: dict[int, float] = {}

    def gains(self, first: int, num_frames: int) -> FloatArray:
        """Factors of the amplitudes of some frames, (num_frames,).

        Args:
            first: first frame, at least that of the new sound.
            num_frames: number of frames; none is beyond the new sound.
        """
        edges = self._edges
        frames = np.arange(first, first + num_frames) - self._first
        begin, end = np.searchsorted(edges, frames[[0, -1]], "right") - 1  # their stretches
        indices = range(max(0, begin - 1), min(len(edges) - 1, end + 2))
        middles = [(edges[i] + edges[i + 1]) / 2 for i in indices]
        in_db = np.interp(frames, middles, [self._gain_db(i) for i in indices])
        return np.asarray(10 ** (in_db / 20), np.float32)

    def _gain_db(self, index: int) -> float:
        if index not in self._gains_db:
            start, stop = self._edges[index : index + 2]
            first, num_frames = self._first + int(start), int(stop - start)
            recording, made = (of(first, num_frames) for of in self._targets)
            found = self._loudness.lufs(made)
            if self._is_silent(recording):
                wanted = self._in_silence_lufs if self._around else min(found, _IN_SILENCE_LUFS)
            else:
                wanted = self._loudness.lufs(recording)
            gain = 0.0 if found <= _SILENT_LUFS else wanted - found
            self._gains_db[index] = float(np.clip(gain, -_MAX_GAIN_DB, _MAX_GAIN_DB))
        return self._gains_db[index]

    @cached_property
    def _in_silence_lufs(self) -> float:
        """Loudness of what is beside the new sound, if it isn't silent."""
        assert self._around is not None
        recording, (first, last) = self._targets[0], self._around
        sides = [(first, self._first), (self._last, last)]
        beside = [recording(start, stop - start) for start, stop in sides if start < stop]
        heard = [side for side in beside if not self._is_silent(side)]
        return self._loudness.lufs(np.concatenate(heard, axis=1)) if heard else _IN_SILENCE_LUFS

    def _is_silent(self, amplitudes: FloatArray) -> bool:
        return float(np.mean(self._loudness.of_frames(amplitudes) > _SILENT_LUFS)) < _HEARD
