"""Sharpness of an image: its gradients over time (onsets) and over frequency (partials)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from riffusion.evaluation.images import Plane


@dataclass(frozen=True)
class Gradients:
    """Mean absolute differences of neighbouring pixels, in grey levels of 255.

    Args:
        time: between frames.
        frequency: between rows.
    """

    time: float
    frequency: float


@dataclass(frozen=True)
class DrawnSharpness:
    """Gradients of drawn clips and of real clips of the same labels.

    Args:
        drawn, real: mean gradients.
        time_ratio, frequency_ratio: drawn / real; below 1 if drawn clips are blurred.
        clips: number of drawn clips.
    """

    drawn: Gradients
    real: Gradients
    time_ratio: float
    frequency_ratio: float
    clips: int


def differences(plane: Plane) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Differences of a plane (frequency, time) over time and over frequency."""
    levels = plane.astype(np.float32)
    return np.diff(levels, axis=1), np.diff(levels, axis=0)


def gradients(plane: Plane) -> Gradients:
    """Gradients of a plane (frequency, time)."""
    time, frequency = differences(plane)
    return Gradients(float(np.abs(time).mean()), float(np.abs(frequency).mean()))


def edges_kept(original: Plane, copy: Plane) -> Gradients:
    """Share of the original's edges that a copy keeps at the same positions.

    It is the slope of the regression of the copy's differences on the original's: 1 for an equal
    copy, lower for a blurred one. Unlike the gradients, it isn't raised by noise.
    """
    slopes = []
    for of_original, of_copy in zip(differences(original), differences(copy), strict=True):
        power = float((of_original**2).sum())
        slopes.append(float((of_original * of_copy).sum()) / power if power > 0 else 1.0)
    return Gradients(*slopes)


def mean_gradients(planes: Iterable[Plane]) -> Gradients:
    """Mean gradients over at least one plane."""
    each = [gradients(plane) for plane in planes]
    return Gradients(
        float(np.mean([g.time for g in each])), float(np.mean([g.frequency for g in each]))
    )


def compare_sharpness(drawn: list[Plane], real: list[Plane]) -> DrawnSharpness:
    """Compare the gradients of drawn clips and real ones, at least one of each."""
    of_drawn, of_real = mean_gradients(drawn), mean_gradients(real)
    return DrawnSharpness(
        of_drawn,
        of_real,
        of_drawn.time / max(of_real.time, 1e-9),
        of_drawn.frequency / max(of_real.frequency, 1e-9),
        len(drawn),
    )
