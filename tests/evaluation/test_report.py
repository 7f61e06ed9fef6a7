"""The report of an evaluation: its page, its tables, its plots."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from riffusion.evaluation.report import plots
from riffusion.evaluation.report.score_table import markdown_table, score_table


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
    assert len(tables) == 9
    for table in tables:
        lines = table.splitlines()
        assert re.fullmatch(r"\|( --- \|)+", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, table


def test_networks_from_elsewhere_come_first_and_the_own_classifier_last(report_dir: Path) -> None:
    page = (report_dir / "report.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert sections[:2] == ["Scores", "Heard by an independent tagger"]
    assert sections[-3] == "Prompt adherence, by the data set's own classifier"
    rows = (report_dir / "scores.md").read_text(encoding="utf-8").splitlines()[2:]
    rows = [row for row in rows if row.startswith("|")]
    of_tagger = [n for n, row in enumerate(rows) if "tagger" in row or "harmonicity" in row]
    of_classifier = [n for n, row in enumerate(rows) if "the data set's own classifier" in row]
    assert of_tagger[0] == 0
    assert of_classifier[-1] == len(rows) - 1
    between = [row for row in rows if re.match(r"\| (VAE|img2img|sharpness|nearest)", row)]
    assert between
    assert max(map(rows.index, between)) < min(of_classifier)


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
    assert "guidance 7, seed" in table
    settings = report["settings"] | {"guidance_interval": [0.0, 0.5]}
    assert "guidance 7 from 0 % to 50 % of the steps, seed" in score_table(
        report | {"settings": settings}
    )


def test_missing_matplotlib_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Exception, match="matplotlib is not installed.*riffusion"):
        plots.check_matplotlib()
