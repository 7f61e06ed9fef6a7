"""Whether images of two origins mean the same sounds, by their spectrogram parameters."""

from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams

_HEARD_FIELDS = (
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
"""Parameters that decide how a sound looks; the others are about turning images back."""


def check_same_meaning(
    ours: SpectrogramParams,
    dataset: SpectrogramParams,
    whose: str = "the checkpoint",
    where: str = "the data set",
) -> None:
    """Check that a checkpoint's images mean the same sounds as a data set's.

    Args:
        ours: parameters of the checkpoint, or of what else sees images.
        dataset: parameters of the data set.
        whose, where: names of the two, for the message.

    Raises:
        InputError: they don't.
    """
    for name in _HEARD_FIELDS:
        one, other = getattr(ours, name), getattr(dataset, name)
        if one != other:
            raise InputError(
                f"{name}={one!r} of {whose} must equal {name}={other!r} of {where}, else their "
                "images mean different sounds; name the data set that it was trained on, or "
                f"build one with the spectrogram parameters of {whose}"
            )
