"""Image sizes and spectrogram parameters of data sets: presets, and changes to them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from riffusion.errors import InputError
from riffusion.io.images import MAX_WIDTH
from riffusion.spectrogram.params import SpectrogramParams


@dataclass(frozen=True)
class ImageFormat:
    """Size and spectrogram parameters of all images of a data set.

    Args:
        params: spectrogram parameters; the image height is `params.num_frequencies`.
        width: number of frames.
    """

    params: SpectrogramParams
    width: int

    @property
    def num_samples(self) -> int:
        """Samples of audio per image."""
        return self.params.num_samples(self.width)

    @property
    def duration_s(self) -> float:
        """Seconds of audio per image."""
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
"""`riffusion`: 512×512, 5.12 s, as for the published checkpoint.

`audio-diffusion`: 256×256 at 22.05 kHz, the size, rate and mel scale of audio-diffusion's published
models. Its hop is 512 samples and its window 2048; here both are whole milliseconds, 507 and 2050
samples, so 256 frames last 5.89 s instead of 5.94 s. Its pixels are decibels of power over a range
of 80 dB, with loud parts bright; here they are amplitudes to the power of 0.25, with loud parts
dark, as in all other Riffusion images."""


def image_format(
    preset: str = "riffusion",
    *,
    width: int | None = None,
    duration_s: float | None = None,
    beats: int | None = None,
    **changes: int | float | bool | None,
) -> ImageFormat:
    """A preset with the given changes.

    Unless `max_frequency` is given, it is lowered to at most half the sample rate.

    Args:
        preset: one of `PRESETS`.
        width: number of frames; default: as many as `duration_s` needs, else the preset's.
        duration_s: length of the audio; must be a whole number of frames.
        beats: beats per slice, if slices are cut on beats; excludes `duration_s`.
        changes: fields of `SpectrogramParams`; None keeps the preset's value.

    Raises:
        InputError: the preset is unknown, or the duration isn't a whole number of frames, differs
            from `width` frames, or is given together with `beats`.
        SpectrogramParamsError: parameters are out of range or contradict each other.
    """
    if preset not in PRESETS:
        raise InputError(f"{preset!r} is unknown; use {' or '.join(PRESETS)}", field="preset")
    if duration_s is not None and beats is not None:
        raise InputError(
            f"{duration_s:g} s cannot be combined with beats={beats}; leave one of them out",
            field="duration_s",
        )
    base = PRESETS[preset]
    chosen = {name: value for name, value in changes.items() if value is not None}
    rate = int(chosen.get("sample_rate", base.params.sample_rate))
    if "max_frequency" not in chosen and base.params.max_frequency > rate // 2 > 0:
        chosen["max_frequency"] = rate // 2
    params = dataclasses.replace(base.params, **chosen)  # type: ignore[arg-type]  # it checks itself
    if duration_s is not None:
        width = _num_frames(params, duration_s, width)
    elif width is None:
        width = base.width
    if not 1 <= width <= MAX_WIDTH:
        name = "width" if duration_s is None else "duration_s"
        raise InputError(f"{width} frames must be from 1 to {MAX_WIDTH}", field=name)
    return ImageFormat(params, width)


def _num_frames(params: SpectrogramParams, duration_s: float, width: int | None) -> int:
    """Number of frames that last `duration_s`, exact to the sample."""
    hop, rate = params.hop_length, params.sample_rate
    frames = duration_s * rate / hop
    if not 0 < frames < 2**31:
        raise InputError(f"{duration_s} must be over 0; 5.12 is usual", field="duration_s")
    if width is not None and width != round(frames):
        raise InputError(
            f"{duration_s:g} s are {frames:.6g} frames of {hop} samples at {rate} Hz, not "
            f"width={width}; leave one of them out",
            field="duration_s",
        )
    if abs(frames - round(frames)) * hop >= 0.5:
        below, above = int(frames) * hop / rate, (int(frames) + 1) * hop / rate
        raise InputError(
            f"{duration_s:g} s are {frames:.2f} frames of {hop} samples at {rate} Hz; a whole "
            f"number is required, use {below:.6g} or {above:.6g}",
            field="duration_s",
        )
    return round(frames)
