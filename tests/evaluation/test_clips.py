"""Real clips, prompts and settings: even choices, and errors for unusable values."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from riffusion.datasets.folder import DatasetFolder, DatasetRow, Split, write_metadata
from riffusion.errors import InputError
from riffusion.evaluation.prompts import (
    UNNAMED_TEMPLATE,
    captions_by_template,
    choose_prompts,
    held_out_templates,
    plain_caption,
)
from riffusion.evaluation.reference_clips import (
    MIN_HELD_OUT_CLIPS,
    MIN_TRAINING_CLIPS,
    choose_labels,
    kinds_by_label,
    load_clips,
)
from riffusion.evaluation.settings import EvaluationSettings
from riffusion.spectrogram.compatibility import check_compatible_params
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.small_corpus import (
    CLIPS,
    HELD_OUT_TEMPLATE,
    KINDS,
    LABELS,
    SIDE,
)


@pytest.fixture
def dataset(corpus: Path) -> DatasetFolder:
    return DatasetFolder(corpus)


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> DatasetFolder:
    """A copy that a test may damage."""
    return DatasetFolder(shutil.copytree(corpus, tmp_path / "copy"))


def rewrite(
    folder: DatasetFolder, split: Split, change: Callable[[list[DatasetRow]], list[DatasetRow]]
) -> None:
    write_metadata(folder.directory, split, change(folder.rows(split)))


def test_clips_have_the_labels_of_their_rows(dataset: DatasetFolder) -> None:
    assert choose_labels(dataset) == LABELS
    clips = load_clips(dataset, "train", LABELS)
    assert len(clips) == CLIPS["train"] * len(LABELS)
    assert clips.small.shape == (len(clips), SIDE, SIDE)
    assert clips.size == (SIDE, SIDE)
    for row, path, target in zip(clips.rows, clips.paths, clips.targets, strict=True):
        assert row.label == clips.labels[target] == path.name.split("_")[0]
    assert (clips.plane(3) == clips.small[3]).all()  # too small to be shrunk
    assert kinds_by_label(clips.rows) == KINDS


@pytest.mark.parametrize("most", [33, 40, 63])
def test_fewer_clips_are_spread_over_the_labels(dataset: DatasetFolder, most: int) -> None:
    clips = load_clips(dataset, "train", LABELS, max_clips=most, seed=1)
    counts = Counter(clips.targets.tolist())
    assert sum(counts.values()) == most
    assert max(counts.values()) - min(counts.values()) <= 1
    again = load_clips(dataset, "train", LABELS, max_clips=most, seed=1)
    other = load_clips(dataset, "train", LABELS, max_clips=most, seed=2)
    assert clips.paths == again.paths
    assert clips.paths != other.paths


def test_the_minimum_per_label_is_always_read(dataset: DatasetFolder) -> None:
    for split, least in (("train", MIN_TRAINING_CLIPS), ("validation", MIN_HELD_OUT_CLIPS)):
        clips = load_clips(dataset, split, LABELS, max_clips=1)
        assert Counter(clips.targets.tolist()) == dict.fromkeys(range(len(LABELS)), least)


def test_only_wanted_labels_are_read(dataset: DatasetFolder) -> None:
    assert choose_labels(dataset, ["pad", "drums"]) == ("drums", "pad")
    clips = load_clips(dataset, "validation", ("drums", "pad"))
    assert {row.label for row in clips.rows} == {"drums", "pad"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(["gong"], "labels: 'gong' is not a label of .* drums, duo"), (["pad"], "one label")],
)
def test_labels_that_cannot_be_evaluated(
    dataset: DatasetFolder, wanted: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_labels(dataset, wanted)


def test_a_data_set_without_labels_is_refused(copy: DatasetFolder) -> None:
    for split in ("train", "validation"):
        rewrite(copy, split, lambda rows: [DatasetRow(row.file_name, row.text) for row in rows])
    with pytest.raises(InputError, match="has no labels; .* dataset synthesize"):
        choose_labels(copy)


def test_a_data_set_without_held_out_clips_is_refused(copy: DatasetFolder) -> None:
    rewrite(copy, "validation", lambda rows: [])
    with pytest.raises(InputError, match="has no validation split; .* at least 4"):
        choose_labels(copy)


@pytest.mark.parametrize(("split", "least"), [("train", 8), ("validation", 4)])
def test_too_few_clips_of_a_label_are_refused(
    copy: DatasetFolder, split: Split, least: int
) -> None:
    def keep_three_pads(rows: list[DatasetRow]) -> list[DatasetRow]:
        return [row for row in rows if row.label != "pad" or row.file_name < "pad_003"]

    rewrite(copy, split, keep_three_pads)
    with pytest.raises(InputError, match=f"'pad' has . clips in {split}; at least {least}"):
        choose_labels(copy)
    assert choose_labels(copy, ["drums", "duo"]) == ("drums", "duo")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"not an image"), "is not an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "damaged|cannot be read"),
        (lambda path: Image.new("RGB", (32, SIDE)).save(path), "32×64 pixels; 64×64 are expected"),
    ],
)
def test_damaged_images_are_named(
    copy: DatasetFolder, damage: Callable[[Path], object], message: str
) -> None:
    path = copy.image_path("validation", copy.rows("validation")[5])
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        load_clips(copy, "validation", LABELS)
    assert path.name in str(caught.value)


def test_images_must_have_num_frequencies_rows(copy: DatasetFolder) -> None:
    SpectrogramParams(num_frequencies=96).save(copy.directory)
    with pytest.raises(InputError, match="64×64 pixels; 64×96 are expected"):
        load_clips(DatasetFolder(copy.directory), "validation", LABELS)


def test_caption_templates_are_used_equally_often(dataset: DatasetFolder) -> None:
    rows = dataset.rows("validation")
    prompts = choose_prompts(rows, LABELS, clips_per_label=5, seed=0)
    assert Counter(prompt.label for prompt in prompts) == dict.fromkeys(LABELS, 5)
    templates = Counter(prompt.template for prompt in prompts)
    assert set(templates) == {"bare", "slow", HELD_OUT_TEMPLATE}
    assert max(templates.values()) - min(templates.values()) <= 1
    for prompt in prompts:
        assert prompt.prompt in captions_by_template(rows, prompt.label)[prompt.template]
    assert prompts == choose_prompts(rows, LABELS, clips_per_label=5, seed=0)
    assert prompts != choose_prompts(rows, LABELS, clips_per_label=5, seed=1)
    assert len({prompt.seed for prompt in prompts}) == len(prompts)


def test_caption_templates_that_training_does_not_have(dataset: DatasetFolder) -> None:
    found = held_out_templates(dataset.rows("train"), dataset.rows("validation"))
    assert found == {HELD_OUT_TEMPLATE}


def test_rows_without_caption_templates() -> None:
    rows = [
        DatasetRow("a.png", "soft piano", ("soft piano", "keys"), label="piano"),
        DatasetRow("b.png", "soft piano", ("soft piano", "quiet keys"), label="piano"),
        DatasetRow("c.png", "a bell", label="bell"),
    ]
    captions = captions_by_template(rows, "piano")
    assert captions == {UNNAMED_TEMPLATE: ("keys", "quiet keys", "soft piano")}
    assert captions_by_template(rows, "bell") == {UNNAMED_TEMPLATE: ("a bell",)}
    assert plain_caption(rows, "piano") == "soft piano"
    assert plain_caption(
        [*rows, DatasetRow("d.png", "x", ("x", "piano"), label="piano")], "piano"
    ) == ("piano")


def test_parameters_that_change_the_audio_must_agree() -> None:
    params = SpectrogramParams()
    check_compatible_params(params, SpectrogramParams(num_griffin_lim_iters=7, max_mel_iters=3))
    for changes in ({"sample_rate": 22050}, {"power_for_image": 0.5}, {"stereo": True}):
        ((name, value),) = changes.items()
        with pytest.raises(InputError, match=f"{name}={value!r} of the checkpoint must equal"):
            check_compatible_params(SpectrogramParams(**changes), params)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"parts": ()}, "parts"),
        ({"parts": ("adherance",)}, "parts"),
        ({"clips_per_label": 1}, "clips_per_label"),
        ({"max_reference_clips": 0}, "max_reference_clips"),
        ({"steps": 151}, "steps"),
        ({"steps": True}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
        ({"guidance": 31.0}, "guidance"),
        ({"guidance_interval": (0.5, 0.4)}, "guidance_interval"),
        ({"guidance_interval": (-0.1, 1.0)}, "guidance_interval"),
        ({"guidance_interval": (0.0, float("nan"))}, "guidance_interval"),
        ({"scheduler": "dpm"}, "scheduler"),
        ({"strengths": ()}, "strengths"),
        ({"strengths": (0.5, 1.2)}, "strengths"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        EvaluationSettings(**changes)
    assert caught.value.field == field


def test_parts_that_need_classifier_or_drawn_clips() -> None:
    assert not EvaluationSettings(parts=("vae", "memorization")).needs_classifier
    assert EvaluationSettings(parts=("img2img",)).needs_classifier
    assert not EvaluationSettings(parts=("img2img",)).needs_drawn_clips
    assert EvaluationSettings(parts=("memorization",)).needs_drawn_clips
