"""Listens to clips: what a tagger hears, and how harmonic they are. On all processors."""

import functools
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.audio import Waveform
from riffusion.evaluation.disk_cache import DiskCache
from riffusion.evaluation.metrics.harmonicity import Harmonicity, measure_harmonicity
from riffusion.evaluation.tagger import Tagger
from riffusion.runtime.processors import num_usable_cpus
from riffusion.runtime.threads import single_threaded


@dataclass(frozen=True)
class Clip:
    """A clip to listen to.

    Args:
        label: its label.
        waveform: makes its audio, (channels, samples).
        key: names the audio in the cache; None for audio that isn't remembered.
    """

    label: str
    waveform: Callable[[], Waveform]
    key: str | None = None


@dataclass(frozen=True)
class HeardClips:
    """What was heard in clips.

    Args:
        labels: (clips,) labels.
        tags: (clips, tags) probabilities.
        features: (clips, features).
        harmonicity: of each clip; None where it wasn't measured.
    """

    labels: npt.NDArray[np.str_]
    tags: npt.NDArray[np.float64]
    features: npt.NDArray[np.float64]
    harmonicity: list[Harmonicity | None]

    def top(self, count: int) -> npt.NDArray[np.bool_]:
        """Whether each tag is among the first `count` of a clip: (clips, tags)."""
        ranks = (-self.tags).argsort(1, kind="stable").argsort(1, kind="stable")
        return ranks < count

    def mean_harmonicity(self, label: str) -> Harmonicity:
        """Mean over the clips of a label whose harmonicity was measured."""
        found = [
            each
            for each, of in zip(self.harmonicity, self.labels, strict=True)
            if of == label and each is not None
        ]
        return Harmonicity(
            share=float(np.mean([each.share for each in found])),
            certainty=float(np.mean([each.certainty for each in found])),
        )


@dataclass(frozen=True)
class Listener:
    """A tagger and a pitch tracker, and a memory of the clips with a key.

    Clips are computed side by side, each without a thread team of its own, so the number of
    processors changes nothing about the results.

    Args:
        tagger: the tagger.
        sample_rate: of all clips, in Hz.
        cache: remembers what was heard.
    """

    tagger: Tagger
    sample_rate: int
    cache: DiskCache

    def listen(
        self,
        clips: Sequence[Clip],
        melodic: Collection[str],
        moved: Callable[[], None] = lambda: None,
    ) -> HeardClips:
        """Listen to clips.

        Args:
            clips: at least one clip.
            melodic: labels of which harmonicity is measured.
            moved: is called after each clip.
        """
        heard = []
        pool = ThreadPoolExecutor(num_usable_cpus())
        try:
            for each in pool.map(lambda clip: self._hear(clip, clip.label in melodic), clips):
                heard.append(each)
                moved()
        finally:
            pool.shutdown(cancel_futures=True)
        tags, features, harmonicity = zip(*heard, strict=True)
        return HeardClips(
            np.array([clip.label for clip in clips]),
            np.stack(tags).astype(np.float64),
            np.stack(features).astype(np.float64),
            list(harmonicity),
        )

    def _hear(
        self, clip: Clip, is_melodic: bool
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], Harmonicity | None]:
        waveform = functools.cache(clip.waveform)
        key = None if clip.key is None else f"{clip.key} {self.sample_rate}"

        def hear() -> dict[str, npt.NDArray[np.floating]]:
            found = self.tagger.hear(waveform(), self.sample_rate)
            return {"tags": found.tags, "features": found.features}

        def track() -> dict[str, npt.NDArray[np.floating]]:
            found = measure_harmonicity(waveform(), self.sample_rate)
            return {"harmonicity": np.array([found.share, found.certainty])}

        with single_threaded():
            found = self.cache.get(key and f"{key} tagger {self.tagger.name}", hear)
            if not is_melodic:
                return found["tags"], found["features"], None
            share, certainty = self.cache.get(key and f"{key} harmonicity", track)["harmonicity"]
        return found["tags"], found["features"], Harmonicity(float(share), float(certainty))
