"""What a data set came to hold."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BuildReport:
    """What a data set came to hold.

    Args:
        num_images: by split.
        num_files: that gave images, by split.
        left_out: slices (`too short`: files) without an image, by reason.
        failures: why files could not be used, by name.
    """

    num_images: Counter[str] = field(default_factory=Counter)
    num_files: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Exception] = field(default_factory=dict)
