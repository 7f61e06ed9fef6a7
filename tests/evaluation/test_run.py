"""`riffusion evaluate` from end to end: the embedded checkpoint, small images, few steps."""

import json
import shutil
from pathlib import Path
from typing import Any

from riffusion.cli.evaluate import ALL_PARTS
from riffusion.evaluation.classifier.files import load_classifier
from riffusion.evaluation.settings import PARTS
from tests.corpora.small_corpus import (
    HELD_OUT_TEMPLATE,
    LABELS,
)
from tests.evaluation.conftest import CLASSIFIER_STEPS
from tests.evaluation.evaluate_runs import CLIPS_PER_LABEL, QUICK, command

LEAST_REAL_ACCURACY = 0.9


def test_the_options_name_all_parts() -> None:
    assert tuple(ALL_PARTS.split(",")) == PARTS


def test_the_report_contains_every_part_settings_and_facts(report: dict[str, Any]) -> None:
    for part in ("classifier", "sharpness", *PARTS):
        assert report[part], part
    assert report["clap"] is None
    assert report["settings"]["steps"] == 2 and report["settings"]["seed"] == 0
    assert report["dataset"]["labels"] == list(LABELS)
    assert report["dataset"]["held_out_wordings"] == [HELD_OUT_TEMPLATE]
    assert report["classifier"]["accuracy"] >= LEAST_REAL_ACCURACY
    assert report["classifier"]["steps"] == CLASSIFIER_STEPS
    assert report["classifier"]["trained_on"] == "small"
    assert 0 <= report["classifier"]["accuracy_through_vae"] <= 1


def test_counts_add_up(report: dict[str, Any]) -> None:
    adherence = report["adherence"]
    drawn = CLIPS_PER_LABEL * len(LABELS)
    assert adherence["mixtures"]["clips"] == CLIPS_PER_LABEL
    assert adherence["singles"]["clips"] + adherence["mixtures"]["clips"] == drawn
    assert sum(map(sum, adherence["confusion"])) == drawn
    templates = adherence["wordings_of_singles"] + adherence["wordings_of_mixtures"]
    assert sum(group["clips"] for group in templates) == drawn
    assert len(report["memorization"]["drawn"]) == drawn
    assert report["vae"]["clips"] == report["classifier"]["vae_clips"] == 4 * len(LABELS)
    assert [score["strength"] for score in report["img2img"]["strengths"]] == [0.25, 0.5, 0.75, 1.0]
    assert report["interpolation"]["paths"] == 2
    assert report["interpolation"]["alphas"] == [0, 0.25, 0.5, 0.75, 1]
    for space in ("features", "pictures"):
        assert len(report["interpolation"][space]["steps"]) == 4


def test_img2img_keeps_less_of_the_clip_at_higher_strength(report: dict[str, Any]) -> None:
    beats = [score["beat"] for score in report["img2img"]["strengths"]]
    assert beats[0] > beats[-1]


def test_the_command_gives_the_same_scores_with_the_classifier_of_the_report(
    corpus: Path, checkpoint: Path, report_dir: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    judge = report_dir / "classifier"
    parts = "adherence,frechet,diversity"
    options = ("--dataset", corpus, *QUICK, "--classifier", judge, "--parts", parts)
    assert command(checkpoint, *options, "-o", tmp_path, "--batch-size", 8) == 0
    again = json.loads((tmp_path / "report.json").read_text())
    assert again["classifier"]["trained_elsewhere"]
    assert again["classifier"]["labels"] == report["classifier"]["labels"]
    for part in parts.split(","):
        assert again[part] == report[part], part
    for part in ("vae", "img2img", "interpolation", "memorization"):
        assert again[part] is None
    assert again["classifier"]["accuracy_through_vae"] is None
    assert not (tmp_path / "sheet_vae.png").exists()
    assert "VAE" not in (tmp_path / "scores.md").read_text(encoding="utf-8")


def test_other_files_in_the_data_set_and_report_folder_change_nothing(
    corpus: Path, checkpoint: Path, report_dir: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "real")
    (tmp_path / "set").symlink_to(tmp_path / "real")
    for folder in ("set", "set/train", "set/validation", "out"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (tmp_path / folder / "._a.png").write_bytes(b"\0\5\x16\7")
        (tmp_path / folder / "stray.png").write_bytes(b"no image")
    options = ("--dataset", tmp_path / "set", *QUICK, "--classifier", report_dir / "classifier")
    assert command(checkpoint, *options, "--parts", "adherence", "-o", tmp_path / "out") == 0
    again = json.loads((tmp_path / "out/report.json").read_text())
    assert again["adherence"] == report["adherence"]


def test_a_classifier_is_trained_and_saved_if_none_is_given(
    corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options = ("--dataset", corpus, *QUICK, "--parts", "adherence", "--classifier-steps", 2)
    assert command(checkpoint, *options, "-o", tmp_path) == 0
    scores = json.loads((tmp_path / "report.json").read_text())["classifier"]
    assert not scores["trained_elsewhere"]
    assert (scores["trained_on"], scores["steps"]) == (corpus.name, 2)
    facts = load_classifier(tmp_path / "classifier").facts
    assert (facts.labels, facts.steps, facts.trained_on) == (LABELS, 2, corpus.name)


def test_images_of_an_earlier_report_are_deleted(
    corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "sheet_img2img.png").write_bytes(b"stale")
    (tmp_path / "holiday.png").write_bytes(b"somebody's")
    options = ("--dataset", corpus, "-o", tmp_path, "--parts", "vae", "--vae-clips-per-label", 1)
    assert command(checkpoint, *options) == 0
    left = [path.name for path in sorted(tmp_path.glob("*.png"))]
    assert left == ["holiday.png", "sheet_vae.png"]
    assert not (tmp_path / "classifier").exists()
