"""The stages of an evaluation. Each one takes what it needs and returns what it makes, so that
their order follows from their types:

    score_classifier         Classifier → ScoredClassifier
    measure_vae              held-out clips → VaeResult
    draw_clips               held-out captions → DrawnClips
    predict_clips            DrawnClips, Classifier → PredictedClips
    measure_adherence, …     those → scores
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from riffusion.errors import InputError
from riffusion.evaluation.classifier.files import check_fits
from riffusion.evaluation.classifier.network import Classifier, Features
from riffusion.evaluation.images import plane_from_image, shrink_all
from riffusion.evaluation.metrics.adherence import (
    AdherenceScores,
    accuracy_by_label,
    score_adherence,
)
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.evaluation.metrics.diversity import DiversityScores, score_diversity
from riffusion.evaluation.metrics.frechet import FrechetScores, score_frechet
from riffusion.evaluation.metrics.img2img_agreement import (
    Img2ImgScores,
    SeedClip,
    Variation,
    choose_seed_clips,
    score_img2img,
    vary_clips,
)
from riffusion.evaluation.metrics.memorization import (
    MemorizationScores,
    nearest_neighbours,
    score_memorization,
)
from riffusion.evaluation.metrics.reconstruction import reconstruct, score_reconstruction
from riffusion.evaluation.metrics.sharpness import DrawnSharpness, compare_sharpness
from riffusion.evaluation.progress import Progress
from riffusion.evaluation.prompts import choose_prompts
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.evaluation.report.scores import (
    ClassifierScores,
    DatasetFacts,
    DrawnClips,
    NearPair,
    PredictedClips,
    VaeResult,
)
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import EvaluationSettings
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.image_converter import params_from_image

logger = logging.getLogger(__name__)

MAX_CLAP_CLIPS = 200
"""Maximum drawn clips that CLAP embeds; inverting an image to audio takes half a second."""
NUM_NEAR_PAIRS = 8
"""Number of nearest pairs in the report."""
_MAX_SHARPNESS_CLIPS = 200
_MIN_COPIED_CLIPS = 16
_VAE_CLIPS, _SHARPNESS_CLIPS, _CLAP_CLIPS, _COPIED_CLIPS = 7, 8, 9, 10
"""One stream of random numbers each, for the same seed."""


@dataclass(frozen=True)
class Setup:
    """What every stage works with.

    Args:
        settings: what is measured.
        sampler: draws images with the checkpoint.
        held_out: real clips that no training has seen.
        dataset: facts about their data set.
        progress: opens a progress stage.
    """

    settings: EvaluationSettings
    sampler: Sampler
    held_out: ReferenceClips
    dataset: DatasetFacts
    progress: Progress

    def rng(self, stream: int) -> np.random.Generator:
        """An independent stream of random numbers."""
        return np.random.default_rng([self.settings.seed, stream])


@dataclass(frozen=True)
class ScoredClassifier:
    """A classifier and its predictions for the held-out clips.

    Args:
        classifier: the classifier.
        scores: how well it does on them.
        real_features: (held-out clips, features).
    """

    classifier: Classifier
    scores: ClassifierScores
    real_features: Features


def score_classifier(
    setup: Setup, classifier: Classifier, trained_elsewhere: bool
) -> ScoredClassifier:
    """Test a classifier on the held-out clips.

    Raises:
        InputError: it doesn't fit the data set.
    """
    held_out = setup.held_out
    check_fits(classifier, held_out)
    features, probabilities = classifier.predict(held_out.small)
    labels = accuracy_by_label(
        held_out.targets, held_out.labels, probabilities.argmax(-1), classifier.labels
    )
    scores = ClassifierScores(
        trained_elsewhere=trained_elsewhere,
        trained_on=classifier.facts.trained_on,
        training_clips=classifier.facts.clips,
        steps=classifier.facts.steps,
        accuracy=float(np.mean(list(labels.values()))),
        labels=labels,
        held_out_clips=len(held_out),
    )
    return ScoredClassifier(classifier, scores, features)


def measure_vae(setup: Setup) -> VaeResult:
    """Reconstruct held-out clips."""
    held_out = setup.held_out
    chosen = held_out.some_of_each_label(setup.settings.vae_clips_per_label, setup.rng(_VAE_CLIPS))
    paths = [held_out.paths[index] for index in chosen]
    reconstructions = reconstruct(setup.sampler.pipeline, paths, setup.progress)
    scores = score_reconstruction(reconstructions, paths)
    return VaeResult(
        scores, reconstructions, chosen, [held_out.rows[index].file_name for index in chosen]
    )


def score_classifier_through_vae(
    setup: Setup, vae: VaeResult, scored: ScoredClassifier
) -> ClassifierScores:
    """The classifier's scores with its accuracy on the reconstructed clips."""
    held_out, classifier = setup.held_out, scored.classifier
    predicted = classifier.predict_labels(shrink_all(vae.reconstructions.copies))
    accuracies = accuracy_by_label(
        held_out.targets[vae.clips], held_out.labels, predicted, classifier.labels
    )
    return replace(
        scored.scores,
        accuracy_through_vae=float(np.mean(list(accuracies.values()))),
        vae_clips=len(vae.clips),
    )


def draw_clips(setup: Setup) -> DrawnClips:
    """Draw clips for the held-out captions."""
    held_out, settings = setup.held_out, setup.settings
    prompts = choose_prompts(
        held_out.rows, held_out.labels, settings.clips_per_label, settings.seed
    )
    planes = setup.sampler.sample_prompts(prompts, "drawing clips")
    targets = np.array([held_out.labels.index(prompt.label) for prompt in prompts])
    return DrawnClips(prompts, planes, targets, shrink_all(planes))


def predict_clips(drawn: DrawnClips, classifier: Classifier) -> PredictedClips:
    """Classify drawn clips."""
    features, probabilities = classifier.predict(drawn.small)
    labels = [classifier.labels[index] for index in probabilities.argmax(-1)]
    return PredictedClips(drawn, features, labels)


def measure_sharpness(setup: Setup, drawn: DrawnClips) -> DrawnSharpness:
    """Compare the sharpness of drawn and held-out clips."""
    held_out = setup.held_out
    count = max(1, _MAX_SHARPNESS_CLIPS // len(held_out.labels))
    chosen = held_out.some_of_each_label(count, setup.rng(_SHARPNESS_CLIPS))
    return compare_sharpness(drawn.planes, [held_out.plane(int(index)) for index in chosen])


def measure_adherence(
    setup: Setup, predicted: PredictedClips, scored: ScoredClassifier
) -> AdherenceScores:
    """Compare the predicted labels of drawn clips with the labels of their prompts."""
    return score_adherence(
        predicted.drawn.prompts,
        predicted.labels,
        scored.classifier.labels,
        scored.scores.labels,
        setup.dataset.kinds,
        set(setup.dataset.held_out_wordings),
    )


def measure_frechet(
    setup: Setup, predicted: PredictedClips, scored: ScoredClassifier
) -> FrechetScores:
    """Fréchet distance between drawn and held-out clips in the classifier's features."""
    return score_frechet(
        scored.real_features,
        setup.held_out.targets,
        predicted.features,
        predicted.drawn.targets,
        setup.settings.seed,
    )


def measure_diversity(
    setup: Setup, predicted: PredictedClips, scored: ScoredClassifier
) -> DiversityScores:
    """Compare how much drawn clips and held-out clips of one label differ."""
    return score_diversity(
        scored.real_features,
        setup.held_out.targets,
        predicted.features,
        predicted.drawn.targets,
        setup.held_out.labels,
    )


def measure_memorization(
    setup: Setup, drawn: DrawnClips, train: ReferenceClips
) -> tuple[MemorizationScores, list[NearPair]]:
    """Search for training clips that drawn clips copy; also returns the nearest pairs."""
    held_out, progress = setup.held_out, setup.progress
    of_drawn = nearest_neighbours(drawn.small, train.small, progress)
    of_real = nearest_neighbours(held_out.small, train.small, progress, "neighbours of real clips")
    count = -(-_MIN_COPIED_CLIPS // len(train.labels))
    some = train.some_of_each_label(count, setup.rng(_COPIED_CLIPS))
    paths = [train.paths[index] for index in some]
    copies = reconstruct(setup.sampler.pipeline, paths, progress).copies
    of_copies = nearest_neighbours(
        shrink_all(copies), train.small, progress, "neighbours of copies"
    )
    kinds = setup.dataset.kinds
    scores = score_memorization(
        of_drawn,
        of_real,
        of_copies,
        [kinds[prompt.label] for prompt in drawn.prompts],
        [kinds[row.label] for row in held_out.rows],
    )
    pairs = []
    for index in np.argsort(of_drawn.distance, kind="stable")[:NUM_NEAR_PAIRS]:
        neighbour = int(of_drawn.index[index])
        plane = train.plane(neighbour)
        shift = round(int(of_drawn.shift[index]) / of_drawn.num_frames * plane.shape[1])
        pairs.append(
            NearPair(
                prompt=drawn.prompts[index],
                drawn=drawn.planes[index],
                training=np.roll(plane, shift, axis=1),
                training_file=train.rows[neighbour].file_name,
                distance=float(of_drawn.distance[index]),
            )
        )
    return scores, pairs


def measure_with_clap(setup: Setup, drawn: DrawnClips, embedder: ClapEmbedder) -> FrechetScores:
    """Fréchet distance between the audio of drawn and held-out clips in CLAP's features."""
    held_out, progress = setup.held_out, setup.progress
    count = max(1, MAX_CLAP_CLIPS // len(held_out.labels))
    of_drawn = np.concatenate(
        [np.flatnonzero(drawn.targets == t)[:count] for t in range(len(held_out.labels))]
    )
    of_real = held_out.some_of_each_label(2 * count, setup.rng(_CLAP_CLIPS))
    return score_frechet(
        embedder.embed([held_out.plane(int(i)) for i in of_real], progress, "CLAP, real"),
        held_out.targets[of_real],
        embedder.embed([drawn.planes[int(i)] for i in of_drawn], progress, "CLAP, drawn"),
        drawn.targets[of_drawn],
        setup.settings.seed,
    )


def measure_img2img(setup: Setup, classifier: Classifier) -> tuple[Img2ImgScores, list[Variation]]:
    """Turn clips into other labels at every denoising strength; also returns the results."""
    held_out, settings = setup.held_out, setup.settings
    clips = choose_seed_clips(
        held_out, settings.img2img_seeds, _library_clips(held_out), settings.seed
    )
    variations = vary_clips(setup.sampler, held_out, clips, settings)
    return score_img2img(variations, held_out, classifier, settings), variations


def _library_clips(held_out: ReferenceClips) -> list[SeedClip]:
    """The project's seed images that have the size and parameters of the data set's images."""
    try:
        library = SeedLibrary.default()
    except InputError:
        return []
    clips = []
    for name in library.seed_image_ids:
        image = library.seed_image(name)
        if image.size == held_out.size and params_from_image(image) == held_out.params:
            clips.append(SeedClip(name, "", plane_from_image(image, held_out.params)))
    if len(clips) < len(library.seed_image_ids):
        logger.debug("only %d seed images have the data set's parameters", len(clips))
    return clips
