"""The stage in which an independent tagger listens."""

import functools

from riffusion.evaluation.audio import audio_key, waveform_from_plane
from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.adherence import MIXTURE
from riffusion.evaluation.metrics.hearing import Clip, Listener
from riffusion.evaluation.metrics.listening import (
    COPIES,
    DRAWN,
    REAL,
    REFERENCE,
    ListeningScores,
    score_listening,
)
from riffusion.evaluation.metrics.reconstruction import reconstruct
from riffusion.evaluation.report.scores import DrawnClips
from riffusion.evaluation.stages import Setup

_LISTENING_CLIPS = 11
"""This stage's stream of random numbers."""


def listen(setup: Setup, drawn: DrawnClips, listener: Listener) -> ListeningScores:
    """Compare what a tagger hears in drawn clips, in real ones, and in those through the VAE.

    Args:
        setup: what every stage works with.
        drawn: the drawn clips.
        listener: the tagger, and its memory of real clips.
    """
    held_out, rng = setup.held_out, setup.rng(_LISTENING_CLIPS)
    sets: dict[str, list[Clip]] = {REFERENCE: [], REAL: [], COPIES: [], DRAWN: []}
    real: list[int] = []
    for target, label in enumerate(held_out.labels):
        of_drawn = (drawn.targets == target).nonzero()[0]
        of_real = rng.permutation(held_out.of_label(target))
        count = min(len(of_real) // 2, len(of_drawn))
        real += [int(index) for index in of_real[:count]]
        for index in of_real[count : 2 * count]:
            sets[REFERENCE].append(_clip(setup, label, held_out.plane(int(index))))
        sets[DRAWN] += [
            _clip(setup, label, drawn.planes[int(i)], remember=False) for i in of_drawn[:count]
        ]
    copies = reconstruct(
        setup.sampler.pipeline, [held_out.paths[index] for index in real], setup.progress
    ).copies
    for index, copy in zip(real, copies, strict=True):
        label = held_out.rows[index].label or ""
        sets[REAL].append(_clip(setup, label, held_out.plane(index)))
        sets[COPIES].append(_clip(setup, label, copy))
    solo = [label for label in held_out.labels if setup.dataset.kinds[label] != MIXTURE]
    with setup.progress("listening") as moved:
        return score_listening(sets, listener, solo, moved)


def _clip(setup: Setup, label: str, plane: Plane, remember: bool = True) -> Clip:
    params = setup.held_out.params
    key = audio_key(plane, params) if remember else None
    return Clip(label, functools.partial(waveform_from_plane, plane, params), key)
