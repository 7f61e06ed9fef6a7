"""Playing and drawing clips, by several processes."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
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
        InputError: a picture can't be written, or the soundfont lacks an instrument.
        RiffusionError: a process died.
    """
    chunks = [jobs[i : i + _JOBS_PER_CHUNK] for i in range(0, len(jobs), _JOBS_PER_CHUNK)]
    workers = min(num_processes or os.cpu_count() or 1, len(chunks))
    if workers > 1:
        yield from _render_in_processes(
            chunks, (synthesizer.soundfont, seed, bool(scores)), workers
        )
    elif chunks:
        renderer = Renderer(synthesizer, seed, scores)
        with _one_torch_thread():
            yield from map(renderer.render, chunks)


def _render_in_processes(
    chunks: Sequence[Sequence[Job]], arguments: tuple[Path, int, bool], workers: int
) -> Iterator[int]:
    # Threads of torch and of FluidSynth don't survive a fork.
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
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    _renderer = Renderer(Synthesizer(soundfont), seed, load_scores() if with_scores else ())


def _end_with_main_process() -> None:
    """Where the main process is killed, its pool would wait for work for ever."""
    main_process = parent_process()
    if main_process is not None:
        main_process.join()
        os._exit(1)


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
