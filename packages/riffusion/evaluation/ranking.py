"""Ranks clips of one prompt by how well they follow it, with a judge from a local folder.

The judge is a classifier that `riffusion evaluate` has trained, for prompts that name one of its
labels, or a CLAP model (Y. Wu et al. 2023), for any prompt.
"""

import re
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from riffusion.errors import InputError
from riffusion.evaluation.classifier.files import FACTS_NAME, load_classifier
from riffusion.evaluation.images import plane_from_image, shrink
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.spectrogram.params import SpectrogramParams


class Judge(Protocol):
    """Scores clips of one prompt."""

    def score(self, image: Image.Image) -> float:
        """How well a clip's spectrogram image follows the prompt; larger is better."""


class ClassifierJudge:
    """Probability of the label that the prompt names, by a classifier.

    Args:
        directory: the classifier's folder.
        prompt: names one of its labels; the longest that it contains counts.

    Raises:
        InputError: the folder contains no classifier, or the prompt names no label.
        CheckpointError: the classifier's files are damaged.
    """

    def __init__(self, directory: Path, prompt: str) -> None:
        self._classifier = load_classifier(directory)
        labels = self._classifier.labels
        words = f" {_plain(prompt)} "
        named = [label for label in labels if f" {_plain(label)} " in words]
        if not named:
            raise InputError(
                f"{str(directory)!r} is a classifier of {', '.join(labels)}, and {prompt!r} names "
                "none of them; name one in the prompt, or a folder with a CLAP model",
                field="judge",
            )
        self._index = labels.index(max(named, key=len))

    def score(self, image: Image.Image) -> float:
        facts = self._classifier.facts
        if image.size != (facts.picture_width, facts.picture_height):
            raise InputError(
                f"is a classifier of images of {facts.picture_width}×{facts.picture_height} "
                f"pixels, and the clip's has {image.width}×{image.height}; leave out what "
                "changes its length (a duration, a tempo or beats), or name a folder with a CLAP "
                "model",
                field="judge",
            )
        small = shrink(plane_from_image(image, facts.params), facts.rows, facts.columns)
        _, probabilities = self._classifier.predict(small[np.newaxis])
        return float(probabilities[0, self._index])


class ClapJudge:
    """Similarity of a clip and its prompt by CLAP, from -1 to 1.

    Args:
        directory: folder of a CLAP model in Hugging Face's format, with its tokenizer.
        prompt: the prompt.
        params: spectrogram parameters of the clips.

    Raises:
        InputError: the folder doesn't exist.
        CheckpointError: it contains no CLAP model, or no tokenizer.
    """

    def __init__(self, directory: Path, prompt: str, params: SpectrogramParams) -> None:
        self._embedder = ClapEmbedder(directory, params)
        self._prompt = self._embedder.embed_texts([prompt])[0]
        self._params = params

    def score(self, image: Image.Image) -> float:
        plane = plane_from_image(image, self._params)
        return float(self._embedder.embed([plane])[0] @ self._prompt)


def load_judge(directory: Path, prompt: str, params: SpectrogramParams) -> Judge:
    """The judge in a folder: a classifier, or else CLAP.

    Raises:
        InputError: the folder contains neither, or the classifier doesn't know the prompt's sound.
        CheckpointError: its files are damaged.
    """
    if (directory / FACTS_NAME).is_file():
        return ClassifierJudge(directory, prompt)
    if not (directory / "config.json").is_file():
        raise InputError(
            f"{str(directory)!r} has neither {FACTS_NAME} nor a CLAP model's config.json; name the "
            "folder `classifier` of an evaluation's report, or a copy of "
            "laion/clap-htsat-unfused",
            field="judge",
        )
    return ClapJudge(directory, prompt, params)


def _plain(text: str) -> str:
    """Lower-case words with single spaces."""
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))
