"""A classifier in a folder, so that several checkpoints can be judged by the same one.

classifier.json           `ClassifierFacts` and `format`
classifier.safetensors    the weights
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from riffusion.errors import (
    CheckpointError,
    InputError,
    RecordedParamsError,
    SpectrogramParamsError,
)
from riffusion.evaluation.classifier.network import Classifier, ClassifierFacts, SoundNetwork
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.io.files import write_file
from riffusion.spectrogram.compatibility import check_compatible_params

FORMAT = 1
FACTS_NAME = "classifier.json"
WEIGHTS_NAME = "classifier.safetensors"


def save_classifier(classifier: Classifier, directory: Path) -> None:
    """Write a classifier into a folder that exists.

    Raises:
        InputError: it can't be written.
    """
    weights = {name: value.contiguous() for name, value in classifier.network.state_dict().items()}
    facts = {"format": FORMAT} | classifier.facts.to_json()
    write_file(save(weights), directory / WEIGHTS_NAME)
    write_file((json.dumps(facts, indent=2) + "\n").encode(), directory / FACTS_NAME)


def load_classifier(directory: Path) -> Classifier:
    """Read a classifier.

    Raises:
        InputError: the folder contains none.
        CheckpointError: its files are damaged, or have another format version.
    """
    for name in (FACTS_NAME, WEIGHTS_NAME):
        if not (directory / name).is_file():
            raise InputError(
                f"{str(directory)!r} has no {name}; name the folder `classifier` of another "
                "evaluation's report",
                field="classifier",
            )
    path = directory / FACTS_NAME
    try:
        values = json.loads(path.read_bytes())  # with or without a byte-order mark
        if values.pop("format") != FORMAT:
            raise ValueError(f"format must be {FORMAT}")
        facts = ClassifierFacts.from_json(values)
    except (AttributeError, KeyError, TypeError, ValueError, SpectrogramParamsError) as error:
        raise CheckpointError(
            f"{path} does not describe a classifier ({error!r}); use an undamaged one"
        ) from error
    network = SoundNetwork(len(facts.labels), facts.rows)
    path = directory / WEIGHTS_NAME
    try:
        weights = load(path.read_bytes())
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} does not contain the weights that {FACTS_NAME} describes ({reason}); "
            "use an undamaged one"
        ) from error
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} contains NaN; use an undamaged one")
    return Classifier(network, facts)


def check_fits(classifier: Classifier, clips: ReferenceClips) -> None:
    """Check that a classifier can judge the clips of a data set.

    It may have more labels than the data set; predicting one of those is counted as wrong.

    Raises:
        InputError: it lacks a label, or was trained on other images.
    """
    facts = classifier.facts
    missing = [label for label in clips.labels if label not in facts.labels]
    if missing:
        raise InputError(
            f"lacks the labels {missing} of the data set, and has {list(facts.labels)}; use one "
            "that was trained on these labels, or choose others with --labels",
            field="classifier",
        )
    sizes = (facts.picture_width, facts.picture_height, facts.rows, facts.columns)
    if sizes != (*clips.size, *clips.small.shape[1:]):
        raise InputError(
            f"was trained on images of {facts.picture_width}×{facts.picture_height} pixels, the "
            f"data set's are {clips.size[0]}×{clips.size[1]}; use one trained on images of that "
            "size",
            field="classifier",
        )
    try:
        check_compatible_params(facts.params, clips.params, whose="the classifier")
    except RecordedParamsError as error:
        raise RecordedParamsError(str(error), field="classifier") from error
