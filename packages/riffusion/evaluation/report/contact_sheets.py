"""Rows of small images with captions, as PNG."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from riffusion.evaluation.images import Plane
from riffusion.evaluation.metrics.sharpness import gradients
from riffusion.evaluation.report.scores import DrawnClips, Material

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
_MOST_TURNS = 10
_MOST_RECONSTRUCTIONS = 6


@dataclass(frozen=True)
class Cell:
    """One image of a sheet.

    Args:
        plane: (frequency, time).
        caption: a line below it.
        mark: colours its frame and caption.
    """

    plane: Plane
    caption: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class SheetRow:
    """One row of a sheet.

    Args:
        title: to its left.
        cells: from left to right; None leaves a place empty.
    """

    title: str
    cells: Sequence[Cell | None]


def contact_sheet(rows: Sequence[SheetRow], heads: Sequence[str], cell: int = CELL) -> Image.Image:
    """A sheet of images.

    Args:
        rows: at least one.
        heads: what stands above the columns; empty ones let the one before run on.
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


def label_sheets(material: Material) -> list[Image.Image]:
    """Real clips of each label beside drawn ones, in sheets of a few labels."""
    drawn, held_out = material.drawn, material.held_out
    if drawn is None or held_out is None:
        return []
    rows = []
    for target, label in enumerate(held_out.labels):
        real = [Cell(held_out.plane(int(i))) for i in held_out.of_label(target)[:_CLIPS_PER_ROW]]
        places: list[Cell | None] = [*real, *[None] * (_CLIPS_PER_ROW - len(real))]
        indices = np.flatnonzero(drawn.targets == target)[:_CLIPS_PER_ROW]
        rows.append(SheetRow(label, [*places, *(_drawn_cell(drawn, int(i)) for i in indices)]))
    heads = ["real", *[""] * (_CLIPS_PER_ROW - 1), "drawn, and what they are heard as"]
    return [
        contact_sheet(rows[begin : begin + _ROWS_PER_SHEET], heads)
        for begin in range(0, len(rows), _ROWS_PER_SHEET)
    ]


def reconstruction_sheet(material: Material) -> Image.Image | None:
    """Images, the VAE's copies of them, and what differs, four times enlarged.

    The most detailed images are shown, since they lose most.
    """
    copies = material.reconstructions
    if copies is None:
        return None
    details = [gradients(plane).time + gradients(plane).frequency for plane in copies.originals]
    rows = []
    for index in np.argsort(details)[::-1][:_MOST_RECONSTRUCTIONS]:
        original, copy = copies.originals[index], copies.copies[index]
        apart = np.abs(original.astype(np.int16) - copy) * _DIFFERENCE_GAIN
        rows.append(
            SheetRow(
                material.reconstruction_names[index],
                [
                    Cell(original),
                    Cell(copy, f"error {copies.errors[index]:.1f} / 255"),
                    Cell(apart.clip(0, 255).astype(np.uint8)),
                ],
            )
        )
    heads = ["real", "through the VAE", f"difference × {_DIFFERENCE_GAIN}"]
    return contact_sheet(rows, heads, LARGE_CELL)


def near_pairs_sheet(material: Material) -> Image.Image | None:
    """Drawn clips beside the training clips that they are nearest to."""
    if not material.near_pairs:
        return None
    rows = [
        SheetRow(
            pair.prompt.prompt,
            [
                Cell(pair.drawn, f"seed {pair.prompt.seed}"),
                Cell(pair.training, f"{pair.training_file}: {pair.distance:.3f}"),
            ],
        )
        for pair in material.near_pairs
    ]
    return contact_sheet(rows, ["drawn", "nearest, and how far"], MIDDLE_CELL)


def img2img_sheet(material: Material, strengths: Sequence[float]) -> Image.Image | None:
    """Clips, and what they were turned into at each strength."""
    if not material.turns:
        return None
    spread = np.linspace(0, len(material.turns) - 1, min(_MOST_TURNS, len(material.turns)))
    rows = [
        SheetRow(
            f"{turn.seed_clip.label or turn.seed_clip.name} → {turn.target}",
            [Cell(turn.seed_clip.plane), *(Cell(plane) for plane in turn.planes)],
        )
        for turn in (material.turns[round(index)] for index in spread)
    ]
    return contact_sheet(rows, ["painted over", *(f"{s:g}" for s in strengths)], CELL)


def interpolation_sheet(material: Material, alphas: Sequence[float]) -> Image.Image | None:
    """Each path from left to right."""
    if not material.paths:
        return None
    rows = [
        SheetRow(f"path {number}", [Cell(plane) for plane in path])
        for number, path in enumerate(material.paths, start=1)
    ]
    return contact_sheet(rows, [f"alpha {alpha:.2g}" for alpha in alphas])


@functools.lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings along; Pillow's own has no arrows."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, _FONT_SIZE)


def _drawn_cell(drawn: DrawnClips, index: int) -> Cell:
    if not drawn.heard:
        return Cell(drawn.planes[index])
    heard = drawn.heard[index]
    return Cell(
        drawn.planes[index], heard, "right" if heard == drawn.prompts[index].label else "wrong"
    )


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    text: str,
    place: tuple[int, int],
    width: int,
) -> None:
    """Text broken at spaces to fit a width."""
    left, top = place
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
    """Text that fits, with an ellipsis for what doesn't."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"
