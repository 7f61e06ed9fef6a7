"""A small data set and a classifier trained on it, once per test run."""

from pathlib import Path

import pytest

from riffusion.datasets.folder import DatasetFolder
from riffusion.evaluation.classifier.files import save_classifier
from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.classifier.training import train_classifier
from riffusion.evaluation.reference_clips import ReferenceClips, load_clips
from tests.corpora.small_corpus import LABELS, shared_small_corpus

CLASSIFIER_STEPS = 40
"""Enough for four distinct sounds."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the data set; tests must not change it."""
    return shared_small_corpus(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def train(corpus: Path) -> ReferenceClips:
    return load_clips(DatasetFolder(corpus), "train", LABELS)


@pytest.fixture(scope="session")
def held_out(corpus: Path) -> ReferenceClips:
    return load_clips(DatasetFolder(corpus), "validation", LABELS)


@pytest.fixture(scope="session")
def classifier(train: ReferenceClips) -> Classifier:
    return train_classifier(train, trained_on="small", steps=CLASSIFIER_STEPS)


@pytest.fixture(scope="session")
def classifier_dir(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(classifier, folder)
    return folder
