"""A classifier in a folder, so that checkpoints are judged by one that was trained elsewhere.

classifier.json           what it is for: `ClassifierFacts`, with `format`
classifier.safetensors    its weights
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from riffusion.errors import CheckpointError, InputError, SpectrogramParamsError
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
        InputError: there is none in that folder.
        CheckpointError: its files are damaged, or of another version.
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
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError(f"format must be {FORMAT}")
        facts = ClassifierFacts.from_json(values)
    except (AttributeError, KeyError, TypeError, ValueError, SpectrogramParamsError) as error:
        raise CheckpointError(
            f"{path} is no description of a classifier ({error!r}); take an undamaged one"
        ) from error
    network = SoundNetwork(len(facts.labels), facts.rows)
    path = directory / WEIGHTS_NAME
    try:
        weights = load(path.read_bytes())
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} does not hold the weights that {FACTS_NAME} describes ({reason}); "
            "take an undamaged one"
        ) from error
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds NaN; take an undamaged one")
    return Classifier(network, facts)


def check_fits(classifier: Classifier, clips: ReferenceClips) -> None:
    """Check that a classifier can judge the clips of a data set.

    It may know more labels than there are; each of them counts as wrong when it is heard.

    Raises:
        InputError: it doesn't know a label, or looks at other images.
    """
    facts = classifier.facts
    missing = _missing(clips.labels, facts.labels)
    if missing:
        raise InputError(
            f"does not know labels={missing} of the data set, only {list(facts.labels)}; take one "
            "that was trained on these labels, or name others by --labels",
            field="classifier",
        )
    sizes = (facts.picture_width, facts.picture_height, facts.rows, facts.columns)
    if sizes != (*clips.size, *clips.small.shape[1:]):
        raise InputError(
            f"looks at images of {facts.picture_width}×{facts.picture_height} pixels, the data "
            f"set's are {clips.size[0]}×{clips.size[1]}; take one trained on images of that size",
            field="classifier",
        )
    try:
        check_compatible_params(facts.params, clips.params, whose="the classifier")
    except InputError as error:
        raise InputError(str(error), field="classifier") from error


def _missing(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    return [label for label in wanted if label not in known]
