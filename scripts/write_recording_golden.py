"""Writes what the web page's images of recordings are compared with: Python's image, and its EXIF.

    python -m scripts.write_recording_golden

The tests of TypeScript are `web/test/recording_image.test.ts`; `tests/spectrogram/
test_recording_golden.py` tests that the file is what Python gives.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from riffusion.spectrogram.image_converter import SpectrogramImageConverter
from riffusion.spectrogram.params import SpectrogramParams
from scripts.golden_files import FOLDER, base64_text, write_json

GOLDEN = FOLDER / "recording.json"
NUM_SAMPLES = 11_000
"""A quarter of a second: 25 columns, the last one begun."""
_PERIOD = 147
"""Samples per period of the triangle wave: 300 Hz."""
_TIFF_AT = len(b"Exif\0\0")


def made_up_samples() -> npt.NDArray[np.float32]:
    """A fading triangle wave with noise, (1, samples), that every language computes exactly."""
    state, samples = 1, []
    for i in range(NUM_SAMPLES):
        state = (state * 16807) % (2**31 - 1)
        triangle = abs((i % _PERIOD) / _PERIOD - 0.5) * 4 - 1
        samples.append(0.5 * triangle * (1 - i / NUM_SAMPLES) + 0.02 * (state / 2**30 - 1))
    return np.array([samples], np.float32)


def golden() -> dict[str, Any]:
    """Parameters, the image's pixels in base64 (rows from the top), and its EXIF as hex digits."""
    params = SpectrogramParams()
    image = SpectrogramImageConverter(params, "cpu").spectrogram_image_from_waveform(
        made_up_samples()
    )
    exif = Image.new("RGB", (1, 1)).getexif()
    exif.update(params.to_exif())
    return {
        "params": dataclasses.asdict(params),
        "width": image.width,
        "height": image.height,
        "pixels": base64_text(np.asarray(image.getchannel("R"))),
        "exif": exif.tobytes()[_TIFF_AT:].hex(),
    }


def main() -> None:
    """Write the file."""
    write_json(GOLDEN, golden())


if __name__ == "__main__":
    main()
