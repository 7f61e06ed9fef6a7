"""`riffusion evaluate` from end to end: the embedded checkpoint, small images, few steps."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel

from riffusion.cli.app import run
from riffusion.cli.evaluate import ALL_PARTS, evaluate
from riffusion.datasets.folder import DatasetRow, write_metadata
from riffusion.diffusion import RiffusionPipeline
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.classifier.files import load_classifier
from riffusion.evaluation.evaluate import evaluate as run_evaluation
from riffusion.evaluation.images import plane_from_image
from riffusion.evaluation.metrics.clap import ClapEmbedder
from riffusion.evaluation.metrics.reconstruction import reconstruct
from riffusion.evaluation.prompts import ClipPrompt
from riffusion.evaluation.report import plots
from riffusion.evaluation.report.files import write_report
from riffusion.evaluation.report.score_table import markdown_table, score_table
from riffusion.evaluation.sampler import Sampler
from riffusion.evaluation.settings import PARTS, EvaluationSettings
from riffusion.spectrogram.params import SpectrogramParams
from tests.corpora.small_corpus import (
    HELD_OUT_TEMPLATE,
    LABELS,
    PARAMS,
    SIDE,
    demo_checkpoint,
    play,
)
from tests.evaluation.conftest import CLASSIFIER_STEPS

CLIPS_PER_LABEL = 2
QUICK = ("--steps", 2, "--clips-per-label", CLIPS_PER_LABEL, "--img2img-seeds", 2)
SETTINGS = EvaluationSettings(
    steps=2,
    clips_per_label=CLIPS_PER_LABEL,
    img2img_seeds=2,
    interpolation_paths=2,
    interpolation_steps=4,
)
"""The same as QUICK, with fewer interpolations."""
LEAST_REAL_ACCURACY = 0.9
SAME_PIXELS = 1
"""Grey levels: UNet calls with more rows round differently."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_checkpoint(tmp_path_factory.mktemp("checkpoint") / "demo")


@pytest.fixture
def pipeline(checkpoint: Path) -> RiffusionPipeline:
    return RiffusionPipeline.from_pretrained(checkpoint, device="cpu")


def command(*arguments: object) -> int:
    application = typer.Typer()
    application.command()(evaluate)
    return run(application, [str(argument) for argument in arguments], "riffusion")


@pytest.fixture(scope="module")
def report_dir(
    corpus: Path,
    checkpoint: Path,
    classifier_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A report of all parts."""
    output = tmp_path_factory.mktemp("report")
    report, material = run_evaluation(
        str(checkpoint), corpus, SETTINGS, classifier=classifier_dir, device="cpu"
    )
    write_report(report, material, output)
    return output


@pytest.fixture(scope="module")
def report(report_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((report_dir / "report.json").read_text())
    return values


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


def test_the_page_shows_every_image_and_links_nothing_else(report_dir: Path) -> None:
    page = (report_dir / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", page)
    images = {path.name for path in report_dir.glob("*.png")}
    assert {"sheet_labels_1.png", "sheet_vae.png", "sheet_nearest.png"} <= images
    assert {"plot_confusion.png", "plot_img2img.png", "plot_interpolation.png"} <= images
    assert sorted(links) == sorted(images | {"report.json"})
    assert "<" not in page
    for name in images:
        with Image.open(report_dir / name) as image:
            image.load()
            assert image.width > 300 and image.height > 100, name


def test_tables_of_the_page_have_equal_numbers_of_cells(report_dir: Path) -> None:
    page = (report_dir / "report.md").read_text(encoding="utf-8")
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        lines = table.splitlines()
        assert re.fullmatch(r"\|( --- \|)+", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, table


def test_text_cannot_break_a_table() -> None:
    assert markdown_table(("a", "b"), [("x | y\nz", "<b>*")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        r"| x \| y z | \<b>\* |",
    ]


def test_the_table_is_markdown_of_the_report(report_dir: Path, report: dict[str, Any]) -> None:
    table = (report_dir / "scores.md").read_text(encoding="utf-8")
    assert table == score_table(report)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert all(line.count(" | ") == 2 for line in rows)
    assert f"{report['vae']['error']:.2f} / 255" in table
    assert "guidance 7" in table


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
    assert line.startswith("error: --parts: 'taste' must be one of adherence")
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


def test_missing_matplotlib_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Exception, match="matplotlib is not installed.*riffusion"):
        plots.check_matplotlib()


@pytest.mark.parametrize("network", ["unet", "vae"])
def test_a_clip_of_nan_is_refused(pipeline: RiffusionPipeline, network: str) -> None:
    last = pipeline.unet.conv_out if network == "unet" else pipeline.vae.decoder.conv_out
    last.bias.data.fill_(torch.nan)
    sampler = Sampler(pipeline, EvaluationSettings(steps=2), (SIDE, SIDE))
    prompt = ClipPrompt("pad", "bare", "a pad", 7)
    with pytest.raises(CheckpointError, match="prompt='a pad', seed=7, .* contains NaN"):
        sampler.sample_prompts([prompt], "drawing")


def test_a_reconstruction_of_nan_is_refused(pipeline: RiffusionPipeline, corpus: Path) -> None:
    pipeline.vae.decoder.conv_out.bias.data.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="copy of 'pad_000.png' contains NaN"):
        reconstruct(pipeline, [corpus / "validation" / "pad_000.png"])


def test_reconstruction_uses_the_mean_of_the_posterior(
    pipeline: RiffusionPipeline, corpus: Path
) -> None:
    path = corpus / "validation" / "pad_000.png"
    done = reconstruct(pipeline, [path])
    with Image.open(path) as image:
        pixels = torch.tensor(list(image.convert("RGB").get_flattened_data())).float()
    pixels = pixels.reshape(1, SIDE, SIDE, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        latents = pipeline.vae.encode(pixels / 127.5 - 1).latent_dist.mean
        copy = pipeline.vae.decode(latents).sample.clamp(-1, 1)
    levels = ((copy + 1) * 127.5).round()
    assert done.errors[0] == pytest.approx(float((levels - pixels).abs().mean()), abs=0.01)
    expected = 255 - levels[0, 0].numpy()
    assert abs(done.copies[0].astype(int) - expected).max() <= SAME_PIXELS


def test_batched_clips_equal_single_ones(pipeline: RiffusionPipeline) -> None:
    prompts = [ClipPrompt(label, "bare", label, seed) for seed, label in enumerate(LABELS)]
    settings = EvaluationSettings(steps=2, batch_size=3)
    together = Sampler(pipeline, settings, (SIDE, SIDE)).sample_prompts(prompts, "together")
    for prompt, plane in zip(prompts, together, strict=True):
        sampler = Sampler(pipeline, settings, (SIDE, SIDE))
        alone = pipeline.riffuse(sampler.request(prompt.prompt, prompt.seed))
        difference = plane.astype(int) - plane_from_image(alone, PARAMS)
        assert abs(difference).max() <= SAME_PIXELS


def test_captions_that_are_too_long_are_refused(pipeline: RiffusionPipeline) -> None:
    sampler = Sampler(pipeline, EvaluationSettings(), (SIDE, SIDE))
    with pytest.raises(InputError, match="start.prompt: String should have at most 4000"):
        sampler.request("la " * 2000, 0)


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


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLAP model with random weights."""
    folder = tmp_path_factory.mktemp("clap")
    audio = ClapAudioConfig(
        spec_size=64,
        num_mel_bins=16,
        patch_embeds_hidden_size=8,
        depths=[1, 1],
        num_attention_heads=[1, 2],
        hidden_size=16,
        window_size=4,
        projection_dim=16,
    )
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ClapConfig(
        audio_config=audio.to_dict(),
        text_config=text | {"intermediate_size": 16, "vocab_size": 30, "projection_dim": 16},
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ClapModel(config).save_pretrained(folder)
    extractor = ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc")
    extractor.save_pretrained(folder)
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
