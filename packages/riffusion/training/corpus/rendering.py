"""Playing and drawing clips, by several processes."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from riffusion.errors import RiffusionError
from riffusion.media_files import write_file
from riffusion.spectrogram_params import SpectrogramParams
from riffusion.training.corpus.composition import compose
from riffusion.training.corpus.scores import Score, load_scores
from riffusion.training.corpus.sounds import SOUNDS
from riffusion.training.corpus.synthesizer import Synthesizer
from riffusion.training.dataset_folder import Split

NUM_COLUMNS = 512
"""Of a picture: 5.12 s."""
_JOBS_PER_CHUNK = 8


@dataclass(frozen=True)
class Job:
    """A clip to be made, by its sound's label, and where its picture goes."""

    label: str
    split: Split
    index: int
    path: Path


class Renderer:
    """Makes clips, one after the other.

    Args:
        soundfont: that plays them.
        seed: of the corpus.
        scores: that it may use.

    Raises:
        RiffusionError: FluidSynth isn't installed.
        InputError: the file is no soundfont.
    """

    def __init__(self, soundfont: Path, seed: int, scores: Sequence[Score]) -> None:
        self._synthesizer = Synthesizer(soundfont)
        self._seed = seed
        self._scores = scores

    def render(self, jobs: Sequence[Job]) -> int:
        """Compose, play, draw and write some clips; how many they were.

        Raises:
            InputError: a picture can't be written, or the soundfont lacks an instrument.
        """
        from riffusion.training.corpus.pictures import picture_bytes

        params = SpectrogramParams()
        for job in jobs:
            clip = compose(SOUNDS[job.label], job.split, job.index, self._seed, self._scores)
            waveform = self._synthesizer.render_loop(
                clip.parts, clip.beats, params.num_samples(NUM_COLUMNS), clip.reverb
            )
            write_file(picture_bytes(waveform, params), job.path)
        return len(jobs)


def render_clips(
    jobs: Sequence[Job],
    soundfont: Path,
    seed: int,
    scores: Sequence[Score],
    num_processes: int | None = None,
) -> Iterator[int]:
    """Make clips; yields how many, each time that some are done.

    Args:
        jobs: the clips.
        soundfont, seed, scores: as `Renderer` takes them.
        num_processes: default one a CPU.

    Raises:
        InputError: a picture can't be written, or the soundfont lacks an instrument.
        RiffusionError: a process died.
    """
    chunks = [jobs[i : i + _JOBS_PER_CHUNK] for i in range(0, len(jobs), _JOBS_PER_CHUNK)]
    workers = min(num_processes or os.cpu_count() or 1, len(chunks))
    if workers > 1:
        yield from _render_in_processes(chunks, soundfont, seed, bool(scores), workers)
    elif chunks:
        renderer = Renderer(soundfont, seed, scores)
        with _one_torch_thread():
            yield from map(renderer.render, chunks)


def _render_in_processes(
    chunks: Sequence[Sequence[Job]], soundfont: Path, seed: int, with_scores: bool, workers: int
) -> Iterator[int]:
    # Threads of torch and of FluidSynth don't survive a fork.
    arguments = (soundfont, seed, with_scores)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_process, arguments)
    try:
        for future in as_completed([pool.submit(_render_here, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise RiffusionError(
            "a process died, perhaps for want of memory; run the same command again, with fewer "
            "processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_renderer: Renderer | None = None
"""Of this process, if it is one of the pool."""


def _start_process(soundfont: Path, seed: int, with_scores: bool) -> None:
    global _renderer
    import torch

    torch.set_num_threads(1)
    _renderer = Renderer(soundfont, seed, load_scores() if with_scores else ())


def _render_here(jobs: Sequence[Job]) -> int:
    if _renderer is None:
        raise RuntimeError("the process was not started by _start_process")
    return _renderer.render(jobs)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """As in the processes of a pool, so that sums are rounded alike."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
