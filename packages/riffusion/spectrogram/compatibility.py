"""Check that a checkpoint and a data set use the same spectrogram parameters."""

from riffusion.errors import RecordedParamsError
from riffusion.spectrogram.params import SpectrogramParams

_COMPARED_FIELDS = (
    "stereo",
    "sample_rate",
    "step_size_ms",
    "window_duration_ms",
    "padded_duration_ms",
    "num_frequencies",
    "min_frequency",
    "max_frequency",
    "mel_scale_norm",
    "mel_scale_type",
    "power_for_image",
)
"""Parameters that decide which image audio becomes; the others affect only image → audio."""


def check_compatible_params(
    ours: SpectrogramParams,
    dataset: SpectrogramParams,
    whose: str = "the checkpoint",
    where: str = "the data set",
) -> None:
    """Check that equal images of a checkpoint and of a data set stand for equal audio.

    Args:
        ours: parameters of the checkpoint (or of a classifier).
        dataset: parameters of the data set.
        whose, where: names of the two in the message.

    Raises:
        RecordedParamsError: a parameter that decides the image differs.
    """
    for name in _COMPARED_FIELDS:
        one, other = getattr(ours, name), getattr(dataset, name)
        if one != other:
            raise RecordedParamsError(
                f"{name}={one!r} of {whose} must equal {name}={other!r} of {where}, because equal "
                "images would stand for different audio; name the data set that it was trained "
                f"on, or build one with the spectrogram parameters of {whose}"
            )
