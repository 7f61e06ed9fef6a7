"""What img2img keeps of a clip, and whether it becomes what is asked for, by denoising strength."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.images import Plane, shrink
from riffusion.evaluation.metrics.chroma import pitch_agreement
from riffusion.evaluation.metrics.onsets import beat_agreement
from riffusion.evaluation.prompts import plain_caption
from riffusion.evaluation.reference_clips import ReferenceClips, kinds_by_label
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings

BEAT = "beat"
"""Kind of the labels without pitch."""


@dataclass(frozen=True)
class SeedClip:
    """A clip to paint over.

    Args:
        name: for people.
        label: its sound; empty if unknown.
        plane: (frequency, time).
    """

    name: str
    label: str
    plane: Plane


@dataclass(frozen=True)
class Turn:
    """A clip, what it should become, and what it became at each strength.

    Args:
        seed_clip: what was painted over.
        target: label that was asked for.
        has_pitch: whether pitches can be compared.
        planes: one for each strength.
    """

    seed_clip: SeedClip
    target: str
    has_pitch: bool
    planes: tuple[Plane, ...]


@dataclass(frozen=True)
class StrengthScores:
    """Means over all turns at one strength.

    Args:
        strength: of the denoising.
        beat: correlation of the onset envelopes of clip and result.
        pitch: correlation of their chroma; None without pitched pairs.
        hears_target: share of results that are heard as what was asked for.
        hears_seed: share that is still heard as the clip's label, among clips whose label is known.
        clips, pitched_clips: how many.
    """

    strength: float
    beat: float
    pitch: float | None
    hears_target: float
    hears_seed: float | None
    clips: int
    pitched_clips: int


@dataclass(frozen=True)
class Img2ImgScores:
    """Agreement by strength.

    Args:
        strengths: scores at each strength.
        unrelated_beat, unrelated_pitch: the same correlations between each clip and a real one of
            its target: what agrees by chance, such as the tempo.
    """

    strengths: tuple[StrengthScores, ...]
    unrelated_beat: float
    unrelated_pitch: float | None


def choose_seed_clips(
    held_out: ReferenceClips, count: int, extra: Sequence[SeedClip], seed: int
) -> list[SeedClip]:
    """Held-out clips of as many labels as can be, and the extra ones after them."""
    rng = np.random.default_rng([seed, _SEED_CLIPS])
    rounds = -(-count // len(held_out.labels))
    indices = rng.permutation(held_out.some_of_each_label(rounds, rng))[:count]
    chosen = []
    for index in indices:
        row = held_out.rows[index]
        chosen.append(SeedClip(row.file_name, row.label, held_out.plane(int(index))))
    return [*chosen, *extra]


def turn_clips(
    drawer: Sampler,
    held_out: ReferenceClips,
    seed_clips: Sequence[SeedClip],
    settings: EvaluationSettings,
) -> list[Turn]:
    """Paint over each clip, towards other labels, at every strength.

    Raises:
        CheckpointError: a result holds NaN.
    """
    rng = np.random.default_rng([settings.seed, _TURNS])
    kinds = kinds_by_label(held_out.rows)
    plans = []
    for clip in seed_clips:
        others = [label for label in held_out.labels if label != clip.label]
        for target in rng.permutation(others)[: settings.img2img_targets]:
            prompt = plain_caption(held_out.rows, str(target))
            plans.append((clip, str(target), prompt, int(rng.integers(2**31))))
    requests = [
        drawer.painted_over(clip.plane, prompt, seed, strength)
        for strength in settings.strengths  # jobs of one strength share all their UNet calls
        for clip, _, prompt, seed in plans
    ]
    planes = list(drawer.draw(requests, "img2img"))
    return [
        Turn(
            clip,
            target,
            BEAT not in (kinds.get(clip.label), kinds.get(target)),
            tuple(planes[index :: len(plans)]),
        )
        for index, (clip, target, _, _) in enumerate(plans)
    ]


def score_img2img(
    turns: Sequence[Turn],
    held_out: ReferenceClips,
    classifier: Classifier,
    settings: EvaluationSettings,
    drawer: Sampler,
) -> Img2ImgScores:
    """Score turned clips."""
    params = drawer.params
    rng = np.random.default_rng([settings.seed, _UNRELATED])
    chance_beat, chance_pitch = [], []
    for turn in turns:
        index = int(rng.choice(held_out.of_label(held_out.labels.index(turn.target))))
        other = held_out.plane(index)
        chance_beat.append(beat_agreement(turn.seed_clip.plane, other, params))
        if turn.has_pitch:
            chance_pitch.append(pitch_agreement(turn.seed_clip.plane, other, params))
    scores = []
    for position, strength in enumerate(settings.strengths):
        results = [turn.planes[position] for turn in turns]
        heard = classifier.predict_labels(np.stack([shrink(plane) for plane in results]))
        names = [classifier.labels[index] for index in heard]
        pairs = list(zip(turns, results, strict=True))
        pitches = [
            pitch_agreement(turn.seed_clip.plane, plane, params)
            for turn, plane in pairs
            if turn.has_pitch
        ]
        known = [
            n == t.seed_clip.label for n, t in zip(names, turns, strict=True) if t.seed_clip.label
        ]
        scores.append(
            StrengthScores(
                strength=strength,
                beat=_mean(
                    [beat_agreement(t.seed_clip.plane, plane, params) for t, plane in pairs]
                ),
                pitch=_mean(pitches) if pitches else None,
                hears_target=_mean([n == t.target for n, t in zip(names, turns, strict=True)]),
                hears_seed=_mean(known) if known else None,
                clips=len(turns),
                pitched_clips=len(pitches),
            )
        )
    return Img2ImgScores(
        tuple(scores), _mean(chance_beat), _mean(chance_pitch) if chance_pitch else None
    )


def _mean(values: Sequence[float] | Sequence[bool] | npt.NDArray[np.float64]) -> float:
    return float(np.mean(values))


_SEED_CLIPS, _TURNS, _UNRELATED = 3, 4, 5
"""Tell these streams of random numbers from others of one seed."""
