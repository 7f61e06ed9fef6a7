"""A region of a recording: a section, or a band of pitches within it."""

import math
from dataclasses import dataclass

from riffusion.audio.recording import Recording
from riffusion.errors import InputError

MIN_RECORDING_S = 0.5
"""Shortest recording that can be edited with a checkpoint."""
MIN_REGION_S = 0.05
"""Shortest region: half a window of the spectrogram."""
_ROUNDING_S = 0.0005
"""Durations are shown to a millisecond, so the end that is shown is the recording's end."""


@dataclass(frozen=True)
class Region:
    """A section of a recording, or a band of it.

    Args:
        from_s, to_s: start and end in seconds.
        low_hz, high_hz: edges of the band; None for no edge.

    Raises:
        InputError: the region is reversed, too short, or not a finite number.
    """

    from_s: float
    to_s: float
    low_hz: float | None = None
    high_hz: float | None = None

    def __post_init__(self) -> None:
        for name in ("from_s", "to_s", "low_hz", "high_hz"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{value:g} must be a finite number, 0 or more", name)
        if self.to_s - self.from_s < MIN_REGION_S - 1e-9:  # 12.35 - 12.3 is a little less than 0.05
            raise InputError(
                f"the region from {self.from_s:g} s to {self.to_s:g} s must be at least "
                f"{MIN_REGION_S:g} s long, with its end after its start",
                "to_s",
            )
        low, high = self.low_hz or 0.0, self.high_hz
        if high is not None and high <= low:
            raise InputError(f"{high:g} must be above low_hz={low:g}", "high_hz")

    @property
    def is_band(self) -> bool:
        """Whether it is a band of the section, not all of it."""
        return self.low_hz is not None or self.high_hz is not None

    def samples_of(self, recording: Recording) -> tuple[int, int]:
        """First sample, and the one after the last.

        Raises:
            InputError: the region isn't inside the recording, or that is too short; or it has no
                such frequencies.
        """
        check_length(recording)
        if self.low_hz is not None and self.low_hz >= recording.sample_rate / 2:
            raise InputError(
                f"{self.low_hz:g} must be below {recording.sample_rate / 2:g} Hz, half of the "
                "recording's sample rate; there is no sound above that",
                "low_hz",
            )
        if self.to_s > recording.duration_s + _ROUNDING_S:
            raise InputError(
                f"{self.to_s:g} is after the recording's end at {recording.duration_s:.3f} s",
                "to_s",
            )
        start, stop = (round(at * recording.sample_rate) for at in (self.from_s, self.to_s))
        return start, min(stop, recording.num_samples)


def check_length(recording: Recording, field: str | None = None) -> None:
    """Check that a recording is long enough to be edited with a checkpoint.

    Args:
        recording: the recording.
        field: what the error is about.

    Raises:
        InputError: it isn't.
    """
    if recording.duration_s < MIN_RECORDING_S:
        raise InputError(
            f"the recording lasts {recording.duration_s:.3f} s, at least {MIN_RECORDING_S:g} s are "
            "needed; use a longer one",
            field,
        )
