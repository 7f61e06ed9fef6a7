"""Plays clips and writes their images, in several processes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from corpora.general_midi.composition import compose
from corpora.general_midi.scores import Score, load_scores
from corpora.general_midi.sounds import SOUNDS
from corpora.general_midi.synthesizer import Synthesizer
from riffusion.datasets.folder import Split
from riffusion.errors import InputError
from riffusion.io.files import write_file
from riffusion.runtime.cluster import RayCluster
from riffusion.runtime.processes import one_thread, process_pool
from riffusion.spectrogram.params import SpectrogramParams

NUM_FRAMES = 512
"""Frames per image: 5.12 s."""
_JOBS_PER_CHUNK = 8


@dataclass(frozen=True)
class Job:
    """A clip to make, by the label of its sound, and the path of its image."""

    label: str
    split: Split
    index: int
    path: Path


class Renderer:
    """Makes clips one after the other.

    Args:
        synthesizer: plays the clips.
        seed: seed of the corpus.
        scores: scores to compose from.
    """

    def __init__(self, synthesizer: Synthesizer, seed: int, scores: Sequence[Score]) -> None:
        self._synthesizer = synthesizer
        self._seed = seed
        self._scores = scores

    def render(self, jobs: Sequence[Job]) -> int:
        """Compose and play clips, and write their images. Returns the number of clips.

        Raises:
            InputError: an image can't be written, or the soundfont lacks an instrument.
        """
        from corpora.general_midi.images import image_bytes

        params = SpectrogramParams()
        for job in jobs:
            clip = compose(SOUNDS[job.label], job.split, job.index, self._seed, self._scores)
            waveform = self._synthesizer.render_loop(
                clip.parts, clip.beats, params.num_samples(NUM_FRAMES), clip.reverb
            )
            write_file(image_bytes(waveform, params), job.path)
        return len(jobs)


def render_clips(
    jobs: Sequence[Job],
    synthesizer: Synthesizer,
    seed: int,
    scores: Sequence[Score],
    num_processes: int | None = None,
    cluster: RayCluster | None = None,
) -> Iterator[int]:
    """Make clips. Yields the number of clips of each chunk that is done.

    Args:
        jobs: the clips.
        synthesizer, seed, scores: see `Renderer`; each process has its own synthesizer with the
            same soundfont.
        num_processes: number of processes; None uses one per CPU.
        cluster: where clips are made in place of this machine. Its nodes need the same packages,
            the folder and the soundfont, both at the same paths.

    Raises:
        InputError: an image can't be written, or the soundfont lacks an instrument.
        RiffusionError: a process died, or the cluster can't be used.
    """
    chunks = [jobs[i : i + _JOBS_PER_CHUNK] for i in range(0, len(jobs), _JOBS_PER_CHUNK)]
    workers = min(num_processes or os.cpu_count() or 1, len(chunks))
    if cluster is not None and chunks:
        yield from _render_on(cluster, chunks, synthesizer, seed, scores)
    elif workers > 1:
        arguments = (synthesizer.soundfont, seed, bool(scores))
        with process_pool(workers, _prepare_process, arguments) as pool:
            for future in as_completed([pool.submit(_render_here, chunk) for chunk in chunks]):
                yield future.result()
    elif chunks:
        renderer = Renderer(synthesizer, seed, scores)
        with one_thread():
            yield from map(renderer.render, chunks)


def _render_on(
    cluster: RayCluster,
    chunks: Sequence[Sequence[Job]],
    synthesizer: Synthesizer,
    seed: int,
    scores: Sequence[Score],
) -> Iterator[int]:
    """Make clips on a cluster. Scores are sent to it, as its nodes have no cache of them."""
    moved = [[replace(job, path=job.path.resolve()) for job in chunk] for chunk in chunks]
    arguments = (synthesizer.soundfont.resolve(), seed, tuple(scores))
    for number, result in cluster.results(_prepare_on_node, arguments, Renderer.render, moved):
        if isinstance(result, Exception):
            raise result
        if not all(job.path.is_file() for job in chunks[number]):
            raise InputError(
                f"output={str(chunks[number][0].path.parent)!r} lacks what a node of the cluster "
                "wrote there; choose a folder that all nodes share"
            )
        yield result


def _prepare_on_node(soundfont: Path, seed: int, scores: Sequence[Score]) -> Renderer:
    return Renderer(Synthesizer(soundfont), seed, scores)


_renderer: Renderer | None = None
"""The renderer of this process, if it belongs to the pool."""


def _prepare_process(soundfont: Path, seed: int, with_scores: bool) -> None:
    global _renderer
    _renderer = Renderer(Synthesizer(soundfont), seed, load_scores() if with_scores else ())


def _render_here(jobs: Sequence[Job]) -> int:
    if _renderer is None:
        raise RuntimeError("the process was not prepared by _prepare_process")
    return _renderer.render(jobs)
