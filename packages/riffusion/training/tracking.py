"""What a run shows on its way: TensorBoard's curves, images and sound, and sample sheets as
files.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from riffusion.audio import waveform_from_segment
from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.recipes.recipe import Samples

logger = logging.getLogger(__name__)

_MAX_HEARD = 4
_CAPTION_HEIGHT = 18
_GAP = 4


class RunTracker:
    """Writes TensorBoard events under `OUTPUT/tensorboard` and sheets under `OUTPUT/samples`.

    Args:
        output: folder of the run.
        params: of its images, to hear them.
        first_step: from which the run goes on; events of later steps, of a run that was ended
            after its last state, are hidden.
    """

    def __init__(self, output: Path, params: SpectrogramParams, first_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.output = output
        self.converter = SpectrogramImageConverter(params, device="cpu")
        self.writer = SummaryWriter(
            str(output / "tensorboard"), purge_step=first_step + 1, flush_secs=30
        )

    def log_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def log_samples(self, step: int, samples: Samples) -> None:
        """Write the sheet, and add it and the sound of its first images to TensorBoard."""
        sheet = sheet_of(samples)
        folder = self.output / "samples"
        folder.mkdir(exist_ok=True)
        sheet.save(folder / f"step-{step:08}.png")
        self.writer.add_image("samples", np.asarray(sheet), step, dataformats="HWC")
        rate = self.converter.p.sample_rate
        for caption, image in samples.heard[:_MAX_HEARD]:
            segment = self.converter.audio_from_spectrogram_image(image)
            waveform = waveform_from_segment(segment).mean(axis=0, keepdims=True)
            self.writer.add_audio(caption, waveform, step, sample_rate=rate)
        self.writer.flush()

    def close(self) -> None:
        """Write what is pending."""
        self.writer.close()


def sheet_of(samples: Samples, picture_height: int = 192) -> Image.Image:
    """Images in rows under their captions, scaled down to one height."""
    first = samples.rows[0][0]
    height = min(picture_height, first.height)
    width = round(first.width * height / first.height)
    row_height = height + _CAPTION_HEIGHT + _GAP
    columns = max(len(row) for row in samples.rows)
    sheet = Image.new("RGB", (columns * (width + _GAP), len(samples.rows) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, row) in enumerate(zip(samples.captions, samples.rows, strict=True)):
        top = number * row_height
        draw.text((_GAP, top + 2), caption, fill="black")
        for column, image in enumerate(row):
            small = image.resize((width, height), Image.Resampling.BOX)
            sheet.paste(small, (column * (width + _GAP), top + _CAPTION_HEIGHT))
    return sheet
