"""The classifier: it learns distinct sounds, and is saved and loaded."""

import codecs
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.classifier.files import (
    FACTS_NAME,
    WEIGHTS_NAME,
    check_fits,
    load_classifier,
    save_classifier,
)
from riffusion.evaluation.classifier.network import Classifier
from riffusion.evaluation.classifier.training import augment, train_classifier
from riffusion.evaluation.metrics.adherence import accuracy_by_label
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.small_corpus import CLIPS, LABELS

LEAST_ACCURACY = 0.95
ROUNDING = 1e-6
"""Probabilities: float32 sums in another order."""


@pytest.fixture
def saved(classifier: Classifier, tmp_path: Path) -> Path:
    save_classifier(classifier, tmp_path)
    return tmp_path


def accuracy(classifier: Classifier, clips: ReferenceClips, small: np.ndarray) -> float:
    predicted = classifier.predict_labels(small)
    by_label = accuracy_by_label(clips.targets, clips.labels, predicted, classifier.labels)
    return float(np.mean(list(by_label.values())))


def test_it_predicts_the_labels_of_held_out_clips(
    classifier: Classifier, held_out: ReferenceClips
) -> None:
    assert accuracy(classifier, held_out, held_out.small) >= LEAST_ACCURACY
    features, probabilities = classifier.predict(held_out.small)
    assert features.shape == (len(held_out), 128)
    assert probabilities.sum(1) == pytest.approx(1)


def test_it_tolerates_blur_and_circular_shifts(
    classifier: Classifier, held_out: ReferenceClips
) -> None:
    shifted = np.roll(held_out.small, 13, axis=2)
    blurred = (shifted.astype(float) + np.roll(shifted, 1, 1) + np.roll(shifted, 1, 2)) / 3
    assert accuracy(classifier, held_out, shifted) >= LEAST_ACCURACY
    assert accuracy(classifier, held_out, blurred.astype(np.uint8)) >= LEAST_ACCURACY - 0.1


def test_the_seed_decides_the_weights_without_changing_the_global_generator(
    train: ReferenceClips,
) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (train_classifier(train, steps=2, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [list(c.network.state_dict().values()) for c in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_augmentation_keeps_shape_range_and_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    planes = torch.rand(5, 32, 40, generator=generator)
    augmented = torch.cat([augment(planes, generator) for _ in range(20)])
    assert augmented.shape == (100, 32, 40)
    assert float(augmented.min()) >= 0 and float(augmented.max()) <= 1
    # Rows are not shifted: the only loud row stays the loudest.
    row = torch.zeros(4, 32, 40)
    row[:, 7] = 0.8
    assert (augment(row, generator).mean(-1).argmax(-1) == 7).all()


def test_saving_and_loading_are_inverses(
    saved: Path, classifier: Classifier, held_out: ReferenceClips
) -> None:
    loaded = load_classifier(saved)
    assert loaded.facts == classifier.facts
    assert loaded.facts.trained_on == "small"
    assert loaded.facts.clips == len(LABELS) * CLIPS["train"]
    check_fits(loaded, held_out)
    for ours, theirs in zip(
        classifier.predict(held_out.small), loaded.predict(held_out.small), strict=True
    ):
        assert theirs == pytest.approx(ours, abs=ROUNDING)


def test_a_byte_order_mark_is_passed_over(
    saved: Path, classifier: Classifier, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "classifier"))
    facts = folder / FACTS_NAME
    facts.write_bytes(codecs.BOM_UTF8 + facts.read_bytes())
    assert load_classifier(folder).facts == classifier.facts


def damage_json(folder: Path) -> None:
    (folder / FACTS_NAME).write_text("{")


def drop_labels(folder: Path) -> None:
    facts = json.loads((folder / FACTS_NAME).read_text())
    (folder / FACTS_NAME).write_text(json.dumps(facts | {"labels": ["piano"]}))


def another_format(folder: Path) -> None:
    facts = json.loads((folder / FACTS_NAME).read_text())
    (folder / FACTS_NAME).write_text(json.dumps(facts | {"format": 99}))


def unknown_key(folder: Path) -> None:
    facts = json.loads((folder / FACTS_NAME).read_text())
    (folder / FACTS_NAME).write_text(json.dumps(facts | {"colour": "blue"}))


def more_labels_than_weights(folder: Path) -> None:
    facts = json.loads((folder / FACTS_NAME).read_text())
    facts["labels"].append("gong")
    (folder / FACTS_NAME).write_text(json.dumps(facts))


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(data[: len(data) // 2])


def put_nan(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    weights["scores.weight"][0, 0] = torch.nan
    save_file(weights, folder / WEIGHTS_NAME)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, "classifier.json does not describe a classifier"),
        (drop_labels, "at least two"),
        (another_format, "format must be 1"),
        (unknown_key, "colour"),
        (more_labels_than_weights, "does not contain the weights"),
        (truncate, "does not contain the weights"),
        (put_nan, "scores.weight contains NaN"),
    ],
)
def test_damaged_files_are_refused(
    saved: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message):
        load_classifier(saved)


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classifier: .* has no classifier.json"):
        load_classifier(tmp_path)


def test_classifiers_of_other_data_sets_are_refused(
    classifier: Classifier, held_out: ReferenceClips
) -> None:
    facts = classifier.facts
    cases = {
        r"lacks the labels \['drums'\]": replace(facts, labels=("gong", *facts.labels[1:])),
        "was trained on images of 512×64": replace(facts, picture_width=512),
        "sample_rate=22050 of the classifier": replace(
            facts, params=SpectrogramParams(sample_rate=22050)
        ),
    }
    for message, other in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            check_fits(Classifier(classifier.network, other), held_out)
        assert caught.value.field == "classifier"


def test_a_classifier_with_more_labels_is_accepted(
    classifier: Classifier, held_out: ReferenceClips
) -> None:
    more = replace(classifier.facts, labels=(*classifier.facts.labels, "gong"))
    check_fits(Classifier(classifier.network, more), held_out)
