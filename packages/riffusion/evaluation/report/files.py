"""A report in a folder.

report.json, report.html, scores.md     all numbers, the page, and the table for a model card
classifier/                             the judge, for `--classifier` of the next evaluation
plot_*.png, sheet_*.png                 plots and contact sheets
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image

from riffusion.evaluation.classifier.files import save_classifier
from riffusion.evaluation.report import contact_sheets, plots
from riffusion.evaluation.report.page import ReportImage, report_page
from riffusion.evaluation.report.score_table import score_table
from riffusion.evaluation.report.scores import Material, Report
from riffusion.io.files import write_file
from riffusion.io.images import encode_image

PAGE_NAME = "report.html"
JSON_NAME = "report.json"
TABLE_NAME = "scores.md"
CLASSIFIER_NAME = "classifier"

T = TypeVar("T")


def write_report(report: Report, material: Material, directory: Path) -> None:
    """Write a report; files of an earlier one are replaced.

    Args:
        report: the scores.
        material: the images behind them.
        directory: made if it isn't there. Other people's images in it are left alone.

    Raises:
        InputError: it can't be written.
        RiffusionError: matplotlib is missing.
    """
    plots.check_matplotlib()
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in ("plot_*.png", "sheet_*.png"):
        for earlier in directory.glob(pattern):
            earlier.unlink()
    values = json.loads(json.dumps(report.to_json()))
    write_file((json.dumps(values, indent=2) + "\n").encode(), directory / JSON_NAME)
    write_file(score_table(values).encode(), directory / TABLE_NAME)
    if material.classifier is not None:
        folder = directory / CLASSIFIER_NAME
        folder.mkdir(exist_ok=True)
        save_classifier(material.classifier, folder)
    images = [*_write_plots(report, directory), *_write_sheets(report, material, directory)]
    write_file(report_page(values, images).encode(), directory / PAGE_NAME)


def _write_plots(report: Report, directory: Path) -> list[ReportImage]:
    images = []

    def add(scores: T | None, plot: Callable[[T], bytes], section: str, caption: str) -> None:
        if scores is not None:
            name = f"{plot.__name__}.png"
            write_file(plot(scores), directory / name)
            images.append(ReportImage(section, name, caption))

    add(report.adherence, plots.plot_adherence, "adherence", "Adherence of each sound.")
    add(report.adherence, plots.plot_confusion, "adherence", "Asked for, and heard.")
    add(
        report.memorization,
        plots.plot_memorization,
        "memorization",
        "Distance to the nearest training clip, wherever in the loop it begins; 0 is a copy.",
    )
    add(
        report.img2img,
        plots.plot_img2img,
        "img2img",
        "What stays of the clip that is painted over, and whether it becomes what is asked for.",
    )
    add(
        report.interpolation,
        plots.plot_interpolation,
        "interpolation",
        "Mean over the paths: what is heard on the way, the steps' sizes, and how far real clips "
        "are.",
    )
    return images


def _write_sheets(report: Report, material: Material, directory: Path) -> list[ReportImage]:
    images = []

    def add(sheet: Image.Image | None, section: str, name: str, caption: str) -> None:
        if sheet is not None:
            write_file(encode_image(sheet, "png"), directory / f"{name}.png")
            images.append(ReportImage(section, f"{name}.png", caption))

    for number, sheet in enumerate(contact_sheets.label_sheets(material), start=1):
        add(sheet, "adherence", f"sheet_labels_{number}", "Real clips, and drawn ones.")
    add(
        contact_sheets.near_pairs_sheet(material),
        "memorization",
        "sheet_nearest",
        "The drawn clips that come nearest to a training clip, which is rolled to match.",
    )
    add(
        contact_sheets.reconstruction_sheet(material),
        "vae",
        "sheet_vae",
        "The held-out images with the most detail, before and after.",
    )
    if report.img2img is not None:
        add(
            contact_sheets.img2img_sheet(material, report.settings.strengths),
            "img2img",
            "sheet_img2img",
            "What becomes of a clip at each strength.",
        )
    if report.interpolation is not None:
        add(
            contact_sheets.interpolation_sheet(material, report.interpolation.alphas),
            "interpolation",
            "sheet_interpolation",
            "Each path, with one seed from end to end.",
        )
    return images
