"""Spectrogram parameters: how a waveform, its mel spectrogram and its image belong together."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Self

from PIL import Image

from riffusion.errors import MissingExifError, RecordedParamsError, SpectrogramParamsError

FILE_NAME = "spectrogram_params.json"
"""Name of the parameter file in a checkpoint's folder, beside `model_index.json`."""


class ExifTags(Enum):
    """EXIF tags of a spectrogram image; the numbers up to `MAX_VALUE` are upstream's."""

    SAMPLE_RATE = 11000
    STEREO = 11005
    STEP_SIZE_MS = 11010
    WINDOW_DURATION_MS = 11020
    PADDED_DURATION_MS = 11030
    NUM_FREQUENCIES = 11040
    MIN_FREQUENCY = 11050
    MAX_FREQUENCY = 11060
    POWER_FOR_IMAGE = 11070
    MAX_VALUE = 11080
    MEL_SCALE_NORM = 11090
    MEL_SCALE_TYPE = 11100
    MAX_MEL_ITERS = 11110
    NUM_GRIFFIN_LIM_ITERS = 11120


@dataclasses.dataclass(frozen=True)
class SpectrogramParams:
    """How audio becomes a spectrogram image, and back.

    An image has one pixel column per frame and one row per mel band. Field names and defaults are
    upstream Riffusion's; the published checkpoint was trained with the defaults.

    Args:
        stereo: two channels, in the image's G and B planes, instead of one in all three planes.
        sample_rate: sample rate of the waveform in Hz.
        step_size_ms: hop, the time from one frame to the next.
        window_duration_ms: length of the Hann window.
        padded_duration_ms: length of the FFT, at least that of the window; zeros fill the rest.
        num_frequencies: number of mel bands, which is the image's height.
        min_frequency, max_frequency: range of the mel bands in Hz. Bands above half the sample
            rate stay silent.
        mel_scale_norm: None, or `slaney` for bands of equal area.
        mel_scale_type: `htk` or `slaney`.
        max_mel_iters: iterations of upstream's inverse mel scale; unused, kept for compatibility.
        num_griffin_lim_iters: iterations of the phase reconstruction.
        power_for_image: exponent from relative amplitude to darkness.

    Raises:
        SpectrogramParamsError: a field has the wrong type or is out of range.
    """

    stereo: bool = False
    sample_rate: int = 44100
    step_size_ms: int = 10
    window_duration_ms: int = 100
    padded_duration_ms: int = 400
    num_frequencies: int = 512
    min_frequency: int = 0
    max_frequency: int = 10000
    mel_scale_norm: str | None = None
    mel_scale_type: str = "htk"
    max_mel_iters: int = 200
    num_griffin_lim_iters: int = 32
    power_for_image: float = 0.25

    ExifTags = ExifTags  # upstream has it here; without an annotation it isn't a field

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_frames()
        self._check_mel_bands()

    def _check_numbers(self) -> None:
        """Check the type and range of each number, and convert it to its field's type."""
        if self.stereo not in (0, 1):
            raise SpectrogramParamsError(f"stereo={self.stereo!r} must be True or False")
        object.__setattr__(self, "stereo", bool(self.stereo))
        for name, (low, high) in _INTEGER_RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or int(_number(name, value)) != value:
                raise SpectrogramParamsError(f"{name}={value!r} must be a whole number")
            if not low <= value <= high:
                raise SpectrogramParamsError(f"{name}={value} must be from {low} to {high}")
            object.__setattr__(self, name, int(value))
        power = _number("power_for_image", self.power_for_image)
        if not 0 < power <= 10:
            raise SpectrogramParamsError(
                f"power_for_image={power} must be above 0 and at most 10; 0.25 is the usual value"
            )

    def _check_frames(self) -> None:
        """Check the lengths of hop, window and FFT."""
        if self.hop_length < 1:
            raise SpectrogramParamsError(
                f"step_size_ms={self.step_size_ms} is shorter than one sample at "
                f"sample_rate={self.sample_rate}; increase one of them"
            )
        if not self.step_size_ms < self.window_duration_ms <= self.padded_duration_ms:
            raise SpectrogramParamsError(
                f"step_size_ms={self.step_size_ms}, window_duration_ms={self.window_duration_ms}, "
                f"padded_duration_ms={self.padded_duration_ms} must be step < window <= padded; "
                "10, 100, 400 are the usual values"
            )
        if self.win_length < 4:
            raise SpectrogramParamsError(
                f"window_duration_ms={self.window_duration_ms} has only {self.win_length} samples "
                f"at sample_rate={self.sample_rate}; at least 4 are needed, increase one of them"
            )

    def _check_mel_bands(self) -> None:
        """Check the filterbank's size, the range of its frequencies and the names of its scale."""
        if self.n_fft * self.num_frequencies > _MAX_FILTERBANK_CELLS:
            raise SpectrogramParamsError(
                f"padded_duration_ms={self.padded_duration_ms} at sample_rate={self.sample_rate} "
                f"and num_frequencies={self.num_frequencies} need a filterbank of "
                f"{self.n_fft} × {self.num_frequencies}; at most {_MAX_FILTERBANK_CELLS} cells are "
                "allowed, reduce one of the three"
            )
        if self.min_frequency >= self.max_frequency:
            raise SpectrogramParamsError(
                f"min_frequency={self.min_frequency} must be below "
                f"max_frequency={self.max_frequency}"
            )
        if self.min_frequency * 2 >= self.sample_rate:
            raise SpectrogramParamsError(
                f"min_frequency={self.min_frequency} must be below half of "
                f"sample_rate={self.sample_rate}"
            )
        if self.mel_scale_norm not in (None, "slaney"):
            raise SpectrogramParamsError(
                f"mel_scale_norm={self.mel_scale_norm!r} must be None or 'slaney'"
            )
        if self.mel_scale_type not in ("htk", "slaney"):
            raise SpectrogramParamsError(
                f"mel_scale_type={self.mel_scale_type!r} must be 'htk' or 'slaney'"
            )

    @property
    def n_fft(self) -> int:
        """Length of the FFT in samples: the window and its zero padding."""
        return int(self.padded_duration_ms / 1000.0 * self.sample_rate)

    @property
    def win_length(self) -> int:
        """Length of the window in samples."""
        return int(self.window_duration_ms / 1000.0 * self.sample_rate)

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return int(self.step_size_ms / 1000.0 * self.sample_rate)

    def num_samples(self, num_frames: int) -> int:
        """Length in samples of a clip of `num_frames` frames."""
        return num_frames * self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Number of frames of a clip of `num_samples`: at least 1, and a started frame counts."""
        return max(1, math.ceil(num_samples / self.hop_length))

    def to_exif(self, max_value: float | None = None) -> dict[int, int | float | str]:
        """EXIF tags of these parameters; `from_exif` is the exact inverse.

        Args:
            max_value: amplitude of the image's black pixels; None leaves the tag out.
        """
        tags: dict[int, int | float | str] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                value = int(value)
            tags[ExifTags[field.name.upper()].value] = "none" if value is None else value
        tags[ExifTags.POWER_FOR_IMAGE.value] = float(self.power_for_image)
        if max_value is not None:
            tags[ExifTags.MAX_VALUE.value] = float(max_value)
        return tags

    @classmethod
    def from_exif(cls, exif: Mapping[int, Any]) -> Self:
        """Parameters from an image's EXIF. Other tags are ignored; missing fields have defaults.

        Raises:
            MissingExifError: the EXIF has no spectrogram parameters (no tag `SAMPLE_RATE`).
            RecordedParamsError: a parameter has the wrong type or is out of range.
        """
        if ExifTags.SAMPLE_RATE.value not in exif:
            raise MissingExifError(
                f"the image's EXIF has no spectrogram parameters (tag "
                f"{ExifTags.SAMPLE_RATE.value}, sample_rate); pass the parameters it was made with"
            )
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            tag = ExifTags[field.name.upper()].value
            if tag in exif:
                value = exif[tag]
                values[field.name] = None if value == "none" else value
        try:
            return cls(**values)
        except SpectrogramParamsError as error:
            raise RecordedParamsError(str(error)) from error

    @staticmethod
    def max_value_from_exif(exif: Mapping[int, Any]) -> float | None:
        """Amplitude of the image's black pixels; None if the EXIF has no usable value."""
        try:
            number = _number("MAX_VALUE", exif.get(ExifTags.MAX_VALUE.value))
        except SpectrogramParamsError:
            return None
        return number if number > 0 else None

    def save(self, directory: Path) -> None:
        """Write the parameters to `spectrogram_params.json` in a checkpoint's folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the parameters from a checkpoint's folder; without the file, the defaults.

        Raises:
            RecordedParamsError: the file isn't JSON, or has unknown or invalid fields.
        """
        path = directory / FILE_NAME
        return cls.from_json(path.read_bytes(), str(path)) if path.is_file() else cls()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Read the content of a `spectrogram_params.json`.

        Args:
            data: the content, with or without a byte-order mark.
            where: the file's path or address, for messages.

        Raises:
            RecordedParamsError: it isn't JSON, or has unknown or invalid fields.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise RecordedParamsError(f"{where} is not JSON: {error}") from error
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not set(values) <= known:
            raise RecordedParamsError(
                f"{where} must be a JSON object with only the fields {', '.join(sorted(known))}"
            )
        try:
            return cls(**values)
        except SpectrogramParamsError as error:
            raise RecordedParamsError(f"{where}: {error}") from error


def exif_from_image(pil_image: Image.Image) -> dict[str, Any]:
    """Spectrogram parameters in an image's EXIF, by tag name. Other tags are ignored."""
    exif = pil_image.getexif()
    return {tag.name: exif[tag.value] for tag in ExifTags if tag.value in exif}


_INTEGER_RANGES = {
    "sample_rate": (1000, 384_000),
    "step_size_ms": (1, 1000),
    "window_duration_ms": (1, 10_000),
    "padded_duration_ms": (1, 10_000),
    "num_frequencies": (1, 8192),
    "min_frequency": (0, 192_000),
    "max_frequency": (1, 192_000),
    "max_mel_iters": (1, 100_000),
    "num_griffin_lim_iters": (0, 1000),
}
_MAX_FILTERBANK_CELLS = 2**26
"""A filterbank of 256 MB; the defaults need 9 million cells."""


def _number(name: str, value: Any) -> float:
    """`value` as a float; it may be an EXIF rational, a NumPy scalar or an integer."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise SpectrogramParamsError(f"{name}={value!r} must be a number") from error
    if not math.isfinite(number):
        raise SpectrogramParamsError(f"{name}={value!r} must be a finite number")
    return number
