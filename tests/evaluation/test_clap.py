"""Scores with a CLAP model from elsewhere."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from riffusion.errors import CheckpointError
from riffusion.evaluation.images import plane_from_image
from riffusion.evaluation.metrics.clap import ClapEmbedder
from tests.corpora.small_corpus import PARAMS, play
from tests.evaluation.evaluate_runs import QUICK, command
from tests.evaluation.tiny_clap import write_tiny_clap


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clap")
    write_tiny_clap(folder)
    return folder


def test_clap_embeds_audio(clap: Path) -> None:
    embedder = ClapEmbedder(clap, PARAMS)
    planes = [plane_from_image(play(label, 0), PARAMS) for label in ("drums", "pad", "drums")]
    embeddings = embedder.embed(planes)
    assert embeddings.shape == (3, 16)
    assert (embeddings**2).sum(1) == pytest.approx(1)
    assert embeddings[0] == pytest.approx(embeddings[2])
    assert abs(embeddings[0] - embeddings[1]).max() > 1e-4


def test_the_clap_distance_is_reported(
    corpus: Path, checkpoint: Path, report_dir: Path, clap: Path, tmp_path: Path
) -> None:
    options = ("--dataset", corpus, *QUICK, "--labels", "drums,pad", "-o", tmp_path)
    few = ("--max-reference-clips", 8)
    judge = ("--classifier", report_dir / "classifier", "--parts", "frechet", "--clap", clap)
    assert command(checkpoint, *options, *judge, *few) == 0
    scores = json.loads((tmp_path / "report.json").read_text())["clap"]
    assert scores["clips"] == 4
    assert scores["drawn_to_real"] >= 0 and scores["real_to_real"] >= 0
    assert "CLAP" in (tmp_path / "scores.md").read_text(encoding="utf-8")


def test_a_part_that_fails_does_not_stop_the_others(
    corpus: Path,
    checkpoint: Path,
    report_dir: Path,
    clap: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = shutil.copytree(clap, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["audio_projection.linear2.bias"].fill_(torch.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    options = ("--dataset", corpus, *QUICK, "--labels", "drums,pad", "-o", tmp_path / "out")
    judge = ("--classifier", report_dir / "classifier", "--parts", "frechet", "--clap", broken)
    assert command(checkpoint, *options, *judge, "--max-reference-clips", 8) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]  # transformers prints about its loading
    assert "1 of the parts failed" in line and "broken' returns NaN; use an undamaged copy" in line
    scores = json.loads((tmp_path / "out/report.json").read_text())
    assert scores["frechet"]["drawn_to_real"] >= 0
    assert scores["clap"] is None and list(scores["failures"]) == ["clap"]
    assert "returns NaN" in (tmp_path / "out/report.md").read_text(encoding="utf-8")


def test_a_damaged_clap_model_is_refused(clap: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clap, tmp_path / "clap")
    (copy / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="contains no readable CLAP model"):
        ClapEmbedder(copy, PARAMS)
