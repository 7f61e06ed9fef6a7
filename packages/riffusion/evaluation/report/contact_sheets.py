"""Contact sheets: rows of small images with captions."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.img2img_agreement import Variation
from riffusion.evaluation.metrics.sharpness import gradients
from riffusion.evaluation.reference_clips import ReferenceClips
from riffusion.evaluation.report.scores import DrawnClips, NearPair, VaeResult

Mark = Literal["right", "wrong", ""]

CELL = 128
"""Side of an image in a sheet, in pixels."""
MIDDLE_CELL, LARGE_CELL = 200, 320
_GAP = 10
_CAPTION_HEIGHT = 15
_TITLE_WIDTH = 132
_FONT_SIZE = 10
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_COLOURS: dict[Mark, tuple[int, int, int]] = {"right": (46, 125, 50), "wrong": (198, 40, 40)}
_ROWS_PER_SHEET = 11
_CLIPS_PER_ROW = 4
_DIFFERENCE_GAIN = 4
_MAX_VARIATIONS = 10
_MAX_RECONSTRUCTIONS = 6


@dataclass(frozen=True)
class Cell:
    """One image of a sheet.

    Args:
        plane: (frequency, time).
        caption: one line below the image.
        mark: decides the colour of the frame and the caption.
    """

    plane: Plane
    caption: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet.

    Args:
        title: text to the left of the row.
        cells: images from left to right; None leaves a gap.
    """

    title: str
    cells: Sequence[Cell | None]


def contact_sheet(rows: Sequence[SheetRow], heads: Sequence[str], cell: int = CELL) -> Image.Image:
    """A sheet of images.

    Args:
        rows: at least one.
        heads: titles of the columns; a long one may extend over empty ones to its right.
        cell: side of each image in pixels.
    """
    font = _font()
    columns = max(len(heads), *(len(row.cells) for row in rows))
    height = cell + _CAPTION_HEIGHT + _GAP
    size = (
        _TITLE_WIDTH + columns * (cell + _GAP),
        _CAPTION_HEIGHT + _GAP + len(rows) * height,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(heads):
        draw.text((_TITLE_WIDTH + column * (cell + _GAP), 3), head, _INK, font)
    for number, row in enumerate(rows):
        top = _CAPTION_HEIGHT + _GAP + number * height
        _draw_lines(draw, font, row.title, (4, top + 4), _TITLE_WIDTH - 10)
        for column, item in enumerate(row.cells):
            if item is None:
                continue
            left = _TITLE_WIDTH + column * (cell + _GAP)
            colour = _COLOURS.get(item.mark)
            if colour:
                frame = (left - 3, top - 3, left + cell + 2, top + cell + 2)
                draw.rectangle(frame, colour)
            grey = Image.fromarray(np.subtract(255, item.plane, dtype=np.uint8))
            sheet.paste(grey.resize((cell, cell), Image.Resampling.LANCZOS), (left, top))
            text = _shortened(draw, font, item.caption, cell)
            draw.text((left, top + cell + 2), text, colour or _INK, font)
    return sheet


def label_sheets(
    held_out: ReferenceClips, drawn: DrawnClips, predicted_labels: Sequence[str]
) -> list[Image.Image]:
    """Real clips of each label beside drawn ones, in sheets of a few labels.

    Args:
        held_out: real clips.
        drawn: drawn clips.
        predicted_labels: predicted label of each drawn clip, or empty.
    """
    rows = []
    for target, label in enumerate(held_out.labels):
        real = [Cell(held_out.plane(int(i))) for i in held_out.of_label(target)[:_CLIPS_PER_ROW]]
        gap = [None] * (_CLIPS_PER_ROW - len(real))
        cells = []
        for index in np.flatnonzero(drawn.targets == target)[:_CLIPS_PER_ROW]:
            predicted = predicted_labels[index] if predicted_labels else ""
            mark: Mark = "right" if predicted == label else "wrong" if predicted else ""
            cells.append(Cell(drawn.planes[index], predicted, mark))
        rows.append(SheetRow(label, [*real, *gap, *cells]))
    heads = ["real", *[""] * (_CLIPS_PER_ROW - 1), "drawn, with predicted labels"]
    return [
        contact_sheet(rows[begin : begin + _ROWS_PER_SHEET], heads)
        for begin in range(0, len(rows), _ROWS_PER_SHEET)
    ]


def reconstruction_sheet(vae: VaeResult) -> Image.Image:
    """Images, their reconstructions, and the difference multiplied by four.

    It shows the most detailed images, because they lose most.
    """
    copies = vae.reconstructions
    details = [gradients(plane).time + gradients(plane).frequency for plane in copies.originals]
    rows = []
    for index in np.argsort(details)[::-1][:_MAX_RECONSTRUCTIONS]:
        original, copy = copies.originals[index], copies.copies[index]
        difference = np.abs(original.astype(np.int16) - copy) * _DIFFERENCE_GAIN
        rows.append(
            SheetRow(
                vae.file_names[index],
                [
                    Cell(original),
                    Cell(copy, f"error {copies.errors[index]:.1f} / 255"),
                    Cell(difference.clip(0, 255).astype(np.uint8)),
                ],
            )
        )
    heads = ["real", "reconstruction", f"difference × {_DIFFERENCE_GAIN}"]
    return contact_sheet(rows, heads, LARGE_CELL)


def near_pairs_sheet(pairs: Sequence[NearPair]) -> Image.Image:
    """Drawn clips beside their nearest training clips."""
    rows = [
        SheetRow(
            pair.prompt.prompt,
            [
                Cell(pair.drawn, f"seed {pair.prompt.seed}"),
                Cell(pair.training, f"{pair.training_file}: {pair.distance:.3f}"),
            ],
        )
        for pair in pairs
    ]
    return contact_sheet(rows, ["drawn", "nearest, and distance"], MIDDLE_CELL)


def img2img_sheet(variations: Sequence[Variation], strengths: Sequence[float]) -> Image.Image:
    """Init images and their results at each strength."""
    spread = np.linspace(0, len(variations) - 1, min(_MAX_VARIATIONS, len(variations)))
    rows = [
        SheetRow(
            f"{chosen.seed_clip.label or chosen.seed_clip.name} → {chosen.target}",
            [Cell(chosen.seed_clip.plane), *(Cell(plane) for plane in chosen.planes)],
        )
        for chosen in (variations[round(index)] for index in spread)
    ]
    return contact_sheet(rows, ["init image", *(f"{s:g}" for s in strengths)], CELL)


def interpolation_sheet(paths: Sequence[Sequence[Plane]], alphas: Sequence[float]) -> Image.Image:
    """Paths from left to right."""
    rows = [
        SheetRow(f"path {number}", [Cell(plane) for plane in path])
        for number, path in enumerate(paths, start=1)
    ]
    return contact_sheet(rows, [f"alpha {alpha:.2g}" for alpha in alphas])


@functools.lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    """A font of matplotlib's; Pillow's own has no arrows."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, _FONT_SIZE)


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    text: str,
    position: tuple[int, int],
    width: int,
) -> None:
    """Draw text in lines that fit a width."""
    left, top = position
    line = ""
    for word in [*text.split(), ""]:
        longer = f"{line} {word}".strip()
        if line and (not word or draw.textlength(longer, font) > width):
            draw.text((left, top), _shortened(draw, font, line, width), _INK, font)
            top += _FONT_SIZE + 4
            line = word
        else:
            line = longer


def _shortened(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    text: str,
    width: int,
) -> str:
    """Text that fits a width, shortened with an ellipsis if needed."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
