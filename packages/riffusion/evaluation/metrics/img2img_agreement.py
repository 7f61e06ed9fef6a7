"""What img2img keeps of the init image, and whether it reaches the target label, by strength."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.images import Plane, shrink_all
from riffusion.evaluation.metrics.chroma import pitch_agreement
from riffusion.evaluation.metrics.onsets import beat_agreement
from riffusion.evaluation.prompts import plain_caption
from riffusion.evaluation.reference_clips import ReferenceClips, kinds_by_label
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings
from riffusion.spectrogram.params import SpectrogramParams

BEAT = "beat"
"""Kind of the labels that have no pitch."""


@dataclass(frozen=True)
class SeedClip:
    """A clip that is the init image of img2img.

    Args:
        name: file name or id of the clip, for the report.
        label: its label; empty if unknown.
        plane: (frequency, time).
    """

    name: str
    label: str
    plane: Plane


@dataclass(frozen=True)
class Variation:
    """A clip and its img2img results towards another label.

    Args:
        seed_clip: the init image.
        target: label of the prompt.
        has_pitch: whether both labels have pitch, so that chroma can be compared.
        planes: the result at each strength.
    """

    seed_clip: SeedClip
    target: str
    has_pitch: bool
    planes: tuple[Plane, ...]


@dataclass(frozen=True)
class StrengthScores:
    """Means over all variations at one strength.

    Args:
        strength: denoising strength.
        beat: correlation of the onset envelopes of init image and result.
        pitch: correlation of their chroma; None without pitched pairs.
        hears_target: share of results whose predicted label is the target.
        hears_seed: share of results whose predicted label is still that of the init image, among
            those whose label is known.
        clips, pitched_clips: number of results, and of those with pitch.
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
        unrelated_beat, unrelated_pitch: the same correlations between each init image and a real
            clip of the target label: the agreement by chance, for example of the tempo.
    """

    strengths: tuple[StrengthScores, ...]
    unrelated_beat: float
    unrelated_pitch: float | None


def choose_seed_clips(
    held_out: ReferenceClips, count: int, extra: Sequence[SeedClip], seed: int
) -> list[SeedClip]:
    """`count` held-out clips of as many labels as possible, followed by the extra ones."""
    rng = np.random.default_rng([seed, _SEED_CLIPS])
    rounds = -(-count // len(held_out.labels))
    indices = rng.permutation(held_out.some_of_each_label(rounds, rng))[:count]
    chosen = []
    for index in indices:
        row = held_out.rows[index]
        chosen.append(SeedClip(row.file_name, row.label, held_out.plane(int(index))))
    return [*chosen, *extra]


def vary_clips(
    sampler: Sampler,
    held_out: ReferenceClips,
    seed_clips: Sequence[SeedClip],
    settings: EvaluationSettings,
) -> list[Variation]:
    """Run img2img from each clip towards other labels, at every strength.

    Raises:
        CheckpointError: a result contains NaN.
    """
    rng = np.random.default_rng([settings.seed, _VARIATIONS])
    kinds = kinds_by_label(held_out.rows)
    plans = []
    for clip in seed_clips:
        others = [label for label in held_out.labels if label != clip.label]
        for target in rng.permutation(others)[: settings.img2img_targets]:
            prompt = plain_caption(held_out.rows, str(target))
            plans.append((clip, str(target), prompt, int(rng.integers(2**31))))
    requests = [
        sampler.img2img_request(clip.plane, prompt, seed, strength)
        for strength in settings.strengths  # jobs of one strength are batched in each step
        for clip, _, prompt, seed in plans
    ]
    planes = list(sampler.sample(requests, "img2img"))
    return [
        Variation(
            clip,
            target,
            BEAT not in (kinds.get(clip.label), kinds.get(target)),
            tuple(planes[index :: len(plans)]),
        )
        for index, (clip, target, _, _) in enumerate(plans)
    ]


def score_img2img(
    variations: Sequence[Variation],
    held_out: ReferenceClips,
    classifier: Classifier,
    settings: EvaluationSettings,
) -> Img2ImgScores:
    """Score the results of `vary_clips`."""
    params = held_out.params
    rng = np.random.default_rng([settings.seed, _UNRELATED])
    chance_beat, chance_pitch = [], []
    for variation in variations:
        index = int(rng.choice(held_out.of_label(held_out.labels.index(variation.target))))
        other = held_out.plane(index)
        chance_beat.append(beat_agreement(variation.seed_clip.plane, other, params))
        if variation.has_pitch:
            chance_pitch.append(pitch_agreement(variation.seed_clip.plane, other, params))
    return Img2ImgScores(
        tuple(
            _score_strength(variations, position, strength, classifier, params)
            for position, strength in enumerate(settings.strengths)
        ),
        _mean(chance_beat),
        _mean(chance_pitch) if chance_pitch else None,
    )


def _score_strength(
    variations: Sequence[Variation],
    position: int,
    strength: float,
    classifier: Classifier,
    params: SpectrogramParams,
) -> StrengthScores:
    results = [variation.planes[position] for variation in variations]
    indices = classifier.predict_labels(shrink_all(results))
    predicted = [classifier.labels[index] for index in indices]
    beats, pitches, is_target, is_seed = [], [], [], []
    for variation, plane, label in zip(variations, results, predicted, strict=True):
        seed_clip = variation.seed_clip
        beats.append(beat_agreement(seed_clip.plane, plane, params))
        if variation.has_pitch:
            pitches.append(pitch_agreement(seed_clip.plane, plane, params))
        is_target.append(label == variation.target)
        if seed_clip.label:
            is_seed.append(label == seed_clip.label)
    return StrengthScores(
        strength=strength,
        beat=_mean(beats),
        pitch=_mean(pitches) if pitches else None,
        hears_target=_mean(is_target),
        hears_seed=_mean(is_seed) if is_seed else None,
        clips=len(variations),
        pitched_clips=len(pitches),
    )


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    return float(np.mean(values))


_SEED_CLIPS, _VARIATIONS, _UNRELATED = 3, 4, 5
"""This module's streams of random numbers for a seed."""
