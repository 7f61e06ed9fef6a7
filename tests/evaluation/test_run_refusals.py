"""What `riffusion evaluate` refuses, in one line."""

import shutil
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from riffusion.checkpoint.distillation import Distillation
from riffusion.datasets.folder import DatasetRow, write_metadata
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.networks.distilled_unet import told_the_guidance
from tests.corpora.small_corpus import (
    PARAMS,
    demo_checkpoint,
)
from tests.evaluation.evaluate_runs import command


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line that a refused command prints."""
    assert command(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_refusals_are_one_line_with_the_remedy(
    corpus: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("-o", tmp_path / "out")
    file = tmp_path / "file"
    file.touch()
    for folder in (tmp_path, tmp_path / "nothing", file):
        line = refusal(capsys, checkpoint, "--dataset", folder, *output)
        assert str(folder) in line and "dataset synthesize" in line
    line = refusal(capsys, checkpoint, "--dataset", corpus, "-o", file)
    assert str(file) in line
    line = refusal(capsys, checkpoint, "--dataset", corpus, *output, "--parts", "taste")
    assert line.startswith("error: --parts: 'taste' must be one of listening, adherence")
    line = refusal(capsys, checkpoint, "--dataset", corpus, *output, "--labels", "pad,gong")
    assert line.startswith("error: --labels: 'gong' is not a label") and "marimba" in line
    line = refusal(capsys, checkpoint, "--dataset", corpus, *output, "--classifier", tmp_path)
    assert line.startswith("error: --classifier: ") and "classifier.json" in line
    line = refusal(capsys, tmp_path, "--dataset", corpus, *output)
    assert "model_index.json" in line
    line = refusal(
        capsys, checkpoint, "--dataset", corpus, *output, "--parts", "vae", "--clap", tmp_path
    )
    assert line.startswith("error: --clap: ") and "is only used by parts that draw clips" in line
    line = refusal(
        capsys, checkpoint, "--dataset", corpus, *output, "--interpolate-to", "la " * 2000
    )
    assert "cannot be drawn: start.prompt: String should have at most 4000" in line
    line = refusal(capsys, checkpoint, "--dataset", corpus, *output, "--clap", tmp_path)
    assert line.startswith("error: --clap: ") and "config.json" in line


def test_a_checkpoint_for_other_images_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = demo_checkpoint(tmp_path / "other", SpectrogramParams())
    line = refusal(capsys, other, "--dataset", corpus, "-o", tmp_path / "out")
    assert "step_size_ms=10 of the checkpoint must equal step_size_ms=20" in line


@pytest.mark.parametrize(
    ("guided_sampling", "options", "value", "remedy"),
    [
        (
            False,
            (),
            "--scheduler='dpmsolver++', --steps=20 and --guidance=7 do",
            "--guidance from 1 to 9",
        ),
        (
            True,
            ("--scheduler", "lcm"),
            "--scheduler='lcm', --steps=20 and",
            "to 9, or another scheduler",
        ),
        (
            True,
            ("--scheduler", "lcm", "--steps", 6, "--guidance", 9.5),
            "--steps=6 and --guidance=9.5 do",
            "1 to 9, or another scheduler",
        ),
    ],
)
@pytest.mark.parametrize("parts", ["listening", "vae,img2img"])
def test_settings_that_a_distilled_checkpoint_cannot_do_are_refused_before_the_long_stages(
    corpus: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    guided_sampling: bool,
    options: tuple[object, ...],
    value: str,
    remedy: str,
    parts: str,
) -> None:
    distilled = shutil.copytree(checkpoint, tmp_path / "distilled")
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    shutil.rmtree(distilled / "unet")
    told_the_guidance(unet).save_pretrained(distilled / "unet")
    capsys.readouterr()  # diffusers' progress bar
    Distillation(6, (1.0, 9.0), guided_sampling).save(distilled)
    common = ("--dataset", corpus, "-o", tmp_path / "out", "--parts", parts)
    line = refusal(capsys, distilled, *common, *options)
    assert value in line and "do not suit this distilled checkpoint" in line
    assert "use --scheduler lcm with --steps up to 6 and " in line and line.endswith(remedy)


def test_a_classifier_for_other_labels_is_refused(
    corpus: Path,
    checkpoint: Path,
    report_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judge = shutil.copytree(report_dir / "classifier", tmp_path / "judge")
    text = (judge / "classifier.json").read_text().replace('"pad"', '"gong"')
    (judge / "classifier.json").write_text(text)
    options = ("--dataset", corpus, "-o", tmp_path / "out", "--classifier", judge)
    line = refusal(capsys, checkpoint, *options)
    assert line.startswith("error: --classifier: lacks the labels ['pad']")


def test_a_data_set_without_labels_is_refused(
    corpus: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    PARAMS.save(folder)
    for split in ("train", "validation"):
        write_metadata(folder, split, [DatasetRow("a.png", "a caption")])
    line = refusal(capsys, checkpoint, "--dataset", folder, "-o", tmp_path / "out")
    assert "has no labels" in line
