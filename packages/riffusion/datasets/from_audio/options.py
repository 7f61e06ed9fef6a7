"""Every option that affects the content of a data set."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from riffusion.datasets.from_audio.captions import CaptionSource
from riffusion.datasets.from_audio.formats import ImageFormat
from riffusion.errors import InputError
from riffusion.music_limits import MAX_BEATS

_MAX_OVERLAP = 0.95
_MAX_VALIDATION_SHARE = 0.9


@dataclass(frozen=True)
class SliceOptions:
    """How recordings are cut, and which slices are left out.

    Args:
        image: size and parameters.
        beats: beats per slice, to cut on beats; None for slices of the image's own duration.
        overlap: share of a slice that the next one repeats, 0 to 0.95.
        keep_rest: keep the remainder at the end, padded with silence; excludes `beats`.
        silence_db: slices with a lower level, in dB of full scale, are left out.
        max_clipping: slices with a larger share of clipped samples are left out.

    Raises:
        InputError: an option is out of range, or two contradict each other.
    """

    image: ImageFormat
    beats: int | None = None
    overlap: float = 0.0
    keep_rest: bool = False
    silence_db: float = -60.0
    max_clipping: float = 0.01

    def __post_init__(self) -> None:
        _check(self, overlap=(0, _MAX_OVERLAP), silence_db=(-200, 0), max_clipping=(0, 1))
        if self.beats is not None:
            _check(self, beats=(1, MAX_BEATS))
            if self.keep_rest:
                raise InputError(
                    "a remainder is not a whole number of beats; leave one of the two out",
                    "keep_rest",
                )


@dataclass(frozen=True)
class BuildOptions:
    """Everything besides the recordings that determines a data set.

    Args:
        slices: how recordings are cut.
        caption_source: `metadata`, `sidecars`, `tags` or `names`; `auto` uses the first one
            available.
        captions: file of captions; None for every metadata.jsonl, .csv and .tsv of the folder.
        validation_share: share of recordings for validation, 0 to 0.9. Above 0, at least one
            recording is used if there are two or more.
        limit: maximum number of recordings, in order; 0 or less for all.
        seed: determines which recordings are used for validation.

    Raises:
        InputError: an option is out of range, or two contradict each other.
    """

    slices: SliceOptions
    caption_source: CaptionSource = "auto"
    captions: Path | None = None
    validation_share: float = 0.1
    limit: int = -1
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, validation_share=(0, _MAX_VALIDATION_SHARE), seed=(0, 2**63 - 1))
        if self.captions is not None and self.caption_source not in ("auto", "metadata"):
            raise InputError(
                f"{str(self.captions)!r} cannot be combined with captions from "
                f"{self.caption_source}; leave one of the two out",
                field="captions",
            )

    def to_json(self, inputs: str) -> dict[str, Any]:
        """The options as `dataset.json` records them.

        Args:
            inputs: fingerprint of the recordings and captions; it also covers `limit`.
        """
        slices = asdict(self.slices)
        image = slices.pop("image")
        return {
            **image["params"],
            "width": image["width"],
            **slices,
            "caption_from": self.caption_source,
            "validation_share": self.validation_share,
            "seed": self.seed,
            "inputs": inputs,
        }


def _check(options: object, **ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"{value} must be from {low:g} to {high:g}", field=name)
