"""Writes a report into a folder.

report.json               all numbers
report.md                 the page: tables, plots and contact sheets
scores.md                 the main scores, for a model card
classifier/               the classifier, for `--classifier` of another evaluation
plot_*.png, sheet_*.png   plots and contact sheets
"""

import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from riffusion.evaluation.classifier.files import save_classifier
from riffusion.evaluation.report import contact_sheets, plots
from riffusion.evaluation.report.page import ReportImage, report_page
from riffusion.evaluation.report.score_table import score_table
from riffusion.evaluation.report.scores import Material, Report
from riffusion.io.files import write_file
from riffusion.io.images import encode_image

PAGE_NAME = "report.md"
JSON_NAME = "report.json"
TABLE_NAME = "scores.md"
CLASSIFIER_NAME = "classifier"

NewImage = tuple[ReportImage, bytes]
"""An image of the report, and its PNG file."""


def write_report(report: Report, material: Material, directory: Path) -> None:
    """Write a report. Files of an earlier one are replaced; other files are kept.

    Args:
        report: the scores.
        material: the images behind them.
        directory: the folder; it is created if needed.

    Raises:
        InputError: a file can't be written.
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
    images = []
    for image, png in (*_plots(report), *_sheets(report, material)):
        write_file(png, directory / image.file_name)
        images.append(image)
    write_file(report_page(values, images).encode(), directory / PAGE_NAME)


def _plots(report: Report) -> Iterator[NewImage]:
    def plot(section: str, name: str, caption: str, png: bytes) -> NewImage:
        return ReportImage(section, f"plot_{name}.png", caption), png

    if (adherence := report.adherence) is not None:
        caption = "Accuracy of each label."
        yield plot("adherence", "adherence", caption, plots.plot_adherence(adherence))
        caption = "Labels of the prompts, and predicted labels."
        yield plot("adherence", "confusion", caption, plots.plot_confusion(adherence))
    if (memorization := report.memorization) is not None:
        caption = "Distance to the nearest training clip under any circular shift; 0 is a copy."
        yield plot("memorization", "memorization", caption, plots.plot_memorization(memorization))
    if (img2img := report.img2img) is not None:
        caption = "What stays of the init image, and whether the target label is reached."
        yield plot("img2img", "img2img", caption, plots.plot_img2img(img2img))
    if (interpolation := report.interpolation) is not None:
        caption = (
            "Means over the paths: predicted labels, sizes of the steps, and distances to real "
            "clips."
        )
        yield plot(
            "interpolation", "interpolation", caption, plots.plot_interpolation(interpolation)
        )


def _sheets(report: Report, material: Material) -> Iterator[NewImage]:
    def sheet(section: str, name: str, caption: str, image: Image.Image) -> NewImage:
        return ReportImage(section, f"sheet_{name}.png", caption), encode_image(image, "png")

    if material.drawn is not None:
        section = "listening" if report.adherence is None and report.listening else "adherence"
        sheets = contact_sheets.label_sheets(
            material.held_out, material.drawn, material.predicted_labels
        )
        for number, image in enumerate(sheets, start=1):
            yield sheet(section, f"labels_{number}", "Real clips and drawn clips.", image)
    if material.near_pairs:
        caption = "The drawn clips nearest to a training clip, which is shifted to match."
        image = contact_sheets.near_pairs_sheet(material.near_pairs)
        yield sheet("memorization", "nearest", caption, image)
    if material.vae is not None:
        caption = "The held-out images with the most detail, before and after."
        yield sheet("vae", "vae", caption, contact_sheets.reconstruction_sheet(material.vae))
    if report.img2img is not None:
        image = contact_sheets.img2img_sheet(material.variations, report.settings.strengths)
        yield sheet("img2img", "img2img", "The results at each strength.", image)
    if report.interpolation is not None:
        image = contact_sheets.interpolation_sheet(material.paths, report.interpolation.alphas)
        caption = "Each path, with one seed from end to end."
        yield sheet("interpolation", "interpolation", caption, image)
