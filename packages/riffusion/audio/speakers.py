"""Mixing by speaker layout: which side of a stereo mix each channel of a file is heard on.

A side is a character: `L` left, `R` right, `C` both, `-` neither (low-frequency effects).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from riffusion.errors import MediaError

DEFAULT_SIDES = {3: "LRC", 4: "LRLR", 5: "LRCLR", 6: "LRC-LR", 7: "LRC-CLR", 8: "LRC-LRLR"}
"""Sides of FFmpeg's default layout for each channel count: 3.0, quad, 5.0, 5.1, 6.1 and 7.1."""

WAV_SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
"""Speakers by their bit in a WAV file's channel mask, under FFmpeg's names."""

_SIDES = {
    **dict.fromkeys(("FC", "BC", "TC", "TFC", "TBC", "BFC"), "C"),
    **dict.fromkeys(("FL", "FLC", "BL", "SL", "TFL", "TBL", "TSL", "BFL"), "L"),
    **dict.fromkeys(("DL", "WL", "SDL", "SSL", "TTL"), "L"),
    **dict.fromkeys(("FR", "FRC", "BR", "SR", "TFR", "TBR", "TSR", "BFR"), "R"),
    **dict.fromkeys(("DR", "WR", "SDR", "SSR", "TTR"), "R"),
    **dict.fromkeys(("LFE", "LFE2"), "-"),
}


def sides_to_mix(speakers: Sequence[str]) -> str | None:
    """The sides of a layout that has to be mixed with its own weights; None for usual layouts.

    Audio inside has no layout: two channels are left and right, and from three to eight have
    `DEFAULT_SIDES`. A file with other sides is mixed to stereo while its layout is known.

    Args:
        speakers: FFmpeg's name for each channel; unknown names mean an unspecified layout.

    Raises:
        MediaError: channels that aren't speakers (ambisonics).
    """
    if any(name.startswith("AMBI") for name in speakers):
        raise MediaError(
            f"the file's {len(speakers)} channels are ambisonics, which have no speakers; "
            "convert it to stereo first"
        )
    count = len(speakers)
    if count < 2 or any(name not in _SIDES for name in speakers):
        return None
    sides = "".join(_SIDES[name] for name in speakers)
    return None if sides in ("LR", DEFAULT_SIDES.get(count)) else sides


def stereo_weights(sides: str) -> npt.NDArray[np.float64]:
    """Weights (2, channels) of the left and the right: centre channels have -3 dB on both.

    The weights of a side add up to 1, so that it never clips; a side without channels is silent.
    """
    gains = {"L": (1, 0), "R": (0, 1), "C": (0.5**0.5,) * 2, "-": (0, 0)}
    weights = np.array([gains[side] for side in sides], dtype=np.float64).T
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return weights
