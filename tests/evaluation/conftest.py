"""A small data set, a classifier trained on it, and a report, once per test run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riffusion.datasets.folder import DatasetFolder
from riffusion.diffusion import RiffusionPipeline
from riffusion.evaluation import disk_cache
from riffusion.evaluation.classifier.files import save_classifier
from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.classifier.training import train_classifier
from riffusion.evaluation.evaluate import evaluate as run_evaluation
from riffusion.evaluation.reference_clips import ReferenceClips, load_clips
from riffusion.evaluation.report.files import write_report
from tests.corpora.small_corpus import LABELS, demo_checkpoint, shared_small_corpus
from tests.evaluation.evaluate_runs import SETTINGS

CLASSIFIER_STEPS = 40
"""Enough for four distinct sounds."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's folder of what was heard is neither read nor written."""
    folder = tmp_path_factory.mktemp("heard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_cache, "default_cache_dir", lambda: folder)
        yield


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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_checkpoint(tmp_path_factory.mktemp("checkpoint") / "demo")


@pytest.fixture
def pipeline(checkpoint: Path) -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def report_dir(
    corpus: Path,
    checkpoint: Path,
    classifier_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A report of all parts; tests must not change it."""
    output = tmp_path_factory.mktemp("report")
    report, material = run_evaluation(
        str(checkpoint), corpus, SETTINGS, classifier=classifier_dir, device="cpu"
    )
    write_report(report, material, output)
    return output


@pytest.fixture(scope="session")
def report(report_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((report_dir / "report.json").read_text())
    return values
