"""Progress of a run: TensorBoard curves, images and audio, and sample grids as files."""

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

_MAX_PLAYED = 4
_CAPTION_HEIGHT = 18
_GAP = 4


class RunTracker:
    """Writes TensorBoard events to `OUTPUT/tensorboard` and sample grids to `OUTPUT/samples`.

    Args:
        output: folder of the run.
        params: spectrogram parameters of its images, to convert them to audio.
        first_step: the step from which the run resumes. Events of later steps, which a killed run
            logged after its last state, are hidden.
    """

    def __init__(self, output: Path, params: SpectrogramParams, first_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.output = output
        self.converter = SpectrogramImageConverter(params, device="cpu")
        self.writer = SummaryWriter(
            str(output / "tensorboard"), purge_step=first_step + 1, flush_secs=30
        )

    def log_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def log_samples(self, step: int, samples: Samples) -> None:
        """Write the sample grid; add it, and audio of the first samples, to TensorBoard."""
        grid = sample_grid(samples)
        folder = self.output / "samples"
        folder.mkdir(exist_ok=True)
        grid.save(folder / f"step-{step:08}.png")
        self.writer.add_image("samples", np.asarray(grid), step, dataformats="HWC")
        rate = self.converter.p.sample_rate
        for caption, image in samples.played[:_MAX_PLAYED]:
            segment = self.converter.audio_from_spectrogram_image(image)
            waveform = waveform_from_segment(segment).mean(axis=0, keepdims=True)
            self.writer.add_audio(caption, waveform, step, sample_rate=rate)
        self.writer.flush()

    def close(self) -> None:
        """Write pending events and close the event file."""
        self.writer.close()


def sample_grid(samples: Samples, max_height: int = 192) -> Image.Image:
    """All samples in one image: one row per caption, images scaled down to at most `max_height`."""
    first = samples.rows[0][0]
    height = min(max_height, first.height)
    width = round(first.width * height / first.height)
    row_height = height + _CAPTION_HEIGHT + _GAP
    columns = max(len(row) for row in samples.rows)
    grid = Image.new("RGB", (columns * (width + _GAP), len(samples.rows) * row_height), "white")
    draw = ImageDraw.Draw(grid)
    for number, (caption, row) in enumerate(zip(samples.captions, samples.rows, strict=True)):
        top = number * row_height
        draw.text((_GAP, top + 2), caption, fill="black")
        for column, image in enumerate(row):
            small = image.resize((width, height), Image.Resampling.BOX)
            grid.paste(small, (column * (width + _GAP), top + _CAPTION_HEIGHT))
    return grid
