"""Sizes and parameters of a data set's images: presets, and what is changed about them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from riffusion.errors import InputError
from riffusion.io.images import MAX_WIDTH
from riffusion.spectrogram.params import SpectrogramParams


@dataclass(frozen=True)
class ImageFormat:
    """What all images of a data set have in common.

    Args:
        params: how an image is made; its height is `params.num_frequencies`.
        width: columns.
    """

    params: SpectrogramParams
    width: int

    @property
    def num_samples(self) -> int:
        """Samples of the sound that an image shows."""
        return self.params.num_samples(self.width)

    @property
    def duration_s(self) -> float:
        """Length of the sound that an image shows."""
        return self.num_samples / self.params.sample_rate


PRESETS: Mapping[str, ImageFormat] = {
    "riffusion": ImageFormat(SpectrogramParams(), 512),
    "audio-diffusion": ImageFormat(
        SpectrogramParams(
            sample_rate=22050,
            step_size_ms=23,
            window_duration_ms=93,
            padded_duration_ms=93,
            num_frequencies=256,
            max_frequency=11025,
            mel_scale_norm="slaney",
            mel_scale_type="slaney",
        ),
        256,
    ),
}
"""`riffusion`: 512×512, 5.12 s, as the published checkpoint.

`audio-diffusion`: 256×256 at 22.05 kHz, the size, rate and mel scale of audio-diffusion's published
models. Its hop is 512 and its window 2048 samples; here both are whole milliseconds, 507 and 2050
samples, so that 256 columns last 5.89 s in place of 5.94 s. Its pixels are decibels of power over a
range of 80 dB, bright where it is loud; here they are amplitudes to the power of 0.25, dark where
it is loud, as in all other images of Riffusion."""


def image_format(
    preset: str = "riffusion",
    *,
    width: int | None = None,
    duration_s: float | None = None,
    beats: int | None = None,
    **changes: int | float | bool | None,
) -> ImageFormat:
    """A preset, changed where something else is asked for.

    Where `max_frequency` isn't among the changes, it is lowered to half the sample rate.

    Args:
        preset: one of `PRESETS`.
        width: columns; default as `duration_s` says, else the preset's.
        duration_s: length of the sound; a whole number of columns.
        beats: of a slice, if slices are cut on beats, which says how long they are.
        changes: fields of `SpectrogramParams`; None leaves the preset's.

    Raises:
        InputError: an unknown preset, a duration that is no whole number of columns, or not as long
            as `width` columns, or asked for besides `beats`.
        SpectrogramParamsError: parameters that are out of range or contradict each other.
    """
    if preset not in PRESETS:
        raise InputError(f"{preset!r} is unknown; use {' or '.join(PRESETS)}", field="preset")
    if duration_s is not None and beats is not None:
        raise InputError(
            f"{duration_s:g} s do not go with beats={beats}; leave one of them out",
            field="duration_s",
        )
    base = PRESETS[preset]
    chosen = {name: value for name, value in changes.items() if value is not None}
    rate = int(chosen.get("sample_rate", base.params.sample_rate))
    if "max_frequency" not in chosen and base.params.max_frequency > rate // 2 > 0:
        chosen["max_frequency"] = rate // 2
    params = dataclasses.replace(base.params, **chosen)  # type: ignore[arg-type]  # it checks itself
    if duration_s is not None:
        width = _columns(params, duration_s, width)
    elif width is None:
        width = base.width
    if not 1 <= width <= MAX_WIDTH:
        name = "width" if duration_s is None else "duration_s"
        raise InputError(f"{width} columns must be from 1 to {MAX_WIDTH}", field=name)
    return ImageFormat(params, width)


def _columns(params: SpectrogramParams, duration_s: float, width: int | None) -> int:
    """Columns that last `duration_s`, to the sample."""
    hop, rate = params.hop_length, params.sample_rate
    columns = duration_s * rate / hop
    if not 0 < columns < 2**31:
        raise InputError(f"{duration_s} must be over 0; 5.12 is the usual one", field="duration_s")
    if width is not None and width != round(columns):
        raise InputError(
            f"{duration_s:g} s are {columns:.6g} columns of {hop} samples at {rate} Hz, not "
            f"width={width}; leave one of them out",
            field="duration_s",
        )
    if abs(columns - round(columns)) * hop >= 0.5:
        below, above = int(columns) * hop / rate, (int(columns) + 1) * hop / rate
        raise InputError(
            f"{duration_s:g} s are {columns:.2f} columns of {hop} samples at {rate} Hz; whole "
            f"columns are needed, take {below:.6g} or {above:.6g}",
            field="duration_s",
        )
    return round(columns)
