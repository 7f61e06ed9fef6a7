"""Counts and failures of a build."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BuildReport:
    """Counts and failures of a build.

    Args:
        num_images: number of images, by split.
        num_files: number of files with at least one image, by split.
        left_out: number of slices (for `too short`: files) without an image, by reason.
        failures: why files could not be used, by name.
    """

    num_images: Counter[str] = field(default_factory=Counter)
    num_files: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Exception] = field(default_factory=dict)
