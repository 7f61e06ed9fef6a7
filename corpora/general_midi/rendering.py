"""Playing and drawing clips, by several processes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from corpora.general_midi.composition import compose
from corpora.general_midi.scores import Score, load_scores
from corpora.general_midi.sounds import SOUNDS
from corpora.general_midi.synthesizer import Synthesizer
from riffusion.datasets.folder import Split
from riffusion.io.files import write_file
from riffusion.runtime.processes import one_torch_thread, process_pool
from riffusion.spectrogram.params import SpectrogramParams

NUM_COLUMNS = 512
"""Of an image: 5.12 s."""
_JOBS_PER_CHUNK = 8


@dataclass(frozen=True)
class Job:
    """A clip to be made, by its sound's label, and where its image goes."""

    label: str
    split: Split
    index: int
    path: Path


class Renderer:
    """Makes clips, one after the other.

    Args:
        synthesizer: that plays them.
        seed: of the corpus.
        scores: that it may use.
    """

    def __init__(self, synthesizer: Synthesizer, seed: int, scores: Sequence[Score]) -> None:
        self._synthesizer = synthesizer
        self._seed = seed
        self._scores = scores

    def render(self, jobs: Sequence[Job]) -> int:
        """Compose, play, draw and write some clips; how many they were.

        Raises:
            InputError: an image can't be written, or the soundfont lacks an instrument.
        """
        from corpora.general_midi.images import image_bytes

        params = SpectrogramParams()
        for job in jobs:
            clip = compose(SOUNDS[job.label], job.split, job.index, self._seed, self._scores)
            waveform = self._synthesizer.render_loop(
                clip.parts, clip.beats, params.num_samples(NUM_COLUMNS), clip.reverb
            )
            write_file(image_bytes(waveform, params), job.path)
        return len(jobs)


def render_clips(
    jobs: Sequence[Job],
    synthesizer: Synthesizer,
    seed: int,
    scores: Sequence[Score],
    num_processes: int | None = None,
) -> Iterator[int]:
    """Make clips; yields how many, each time that some are done.

    Args:
        jobs: the clips.
        synthesizer, seed, scores: as `Renderer` takes them; each process has a synthesizer of its
            own, with the same soundfont.
        num_processes: default one a CPU.

    Raises:
        InputError: an image can't be written, or the soundfont lacks an instrument.
        RiffusionError: a process died.
    """
    chunks = [jobs[i : i + _JOBS_PER_CHUNK] for i in range(0, len(jobs), _JOBS_PER_CHUNK)]
    workers = min(num_processes or os.cpu_count() or 1, len(chunks))
    if workers > 1:
        arguments = (synthesizer.soundfont, seed, bool(scores))
        with process_pool(workers, _prepare_process, arguments) as pool:
            for future in as_completed([pool.submit(_render_here, chunk) for chunk in chunks]):
                yield future.result()
    elif chunks:
        renderer = Renderer(synthesizer, seed, scores)
        with one_torch_thread():
            yield from map(renderer.render, chunks)


_renderer: Renderer | None = None
"""Of this process, if it is one of the pool."""


def _prepare_process(soundfont: Path, seed: int, with_scores: bool) -> None:
    global _renderer
    _renderer = Renderer(Synthesizer(soundfont), seed, load_scores() if with_scores else ())


def _render_here(jobs: Sequence[Job]) -> int:
    if _renderer is None:
        raise RuntimeError("the process was not prepared by _prepare_process")
    return _renderer.render(jobs)
