"""Limits of the recordings that a server edits; the command line has none of them."""

from riffusion.audio.recording import Recording
from riffusion.errors import InputError

MAX_RESULT_S = 120.0
"""Longest edited recording: twice the longest recording that a request may have."""
MAX_RECORDING_BYTES = 48 * 2**20
"""Largest recording, decoded, before and after: two minutes in stereo at 48 kHz and 24 bits, which
take four bytes; a minute at 192 kHz and 16 bits."""

MAX_ANSWER_BYTES = 160 * 2**20
"""Largest answer with stems, of which several copies are in memory at the same time; it has room
for a minute in stereo at 48 kHz and 24 bits. The gateway takes no more than 256 MiB."""


def check_recording(recording: Recording, field: str) -> None:
    """Check that a request's recording isn't too large; its duration is limited in decoding.

    Args:
        recording: the recording.
        field: the request's field that holds it.

    Raises:
        InputError: it is.
    """
    _check_bytes(recording, recording.num_samples, field)


def check_result(recording: Recording, duration_s: float, field: str) -> None:
    """Check what an edit will make of a recording, before the work begins.

    Args:
        recording: the recording.
        duration_s: length of the result.
        field: the request's field that decides it.

    Raises:
        InputError: it will be too long or too large.
    """
    if duration_s > MAX_RESULT_S:
        raise InputError(
            f"the result would last {duration_s:.1f} s; at most {MAX_RESULT_S:g} s are made for a "
            "request, so ask for less, or send a shorter part of the recording",
            field,
        )
    _check_bytes(recording, round(duration_s * recording.sample_rate), field)


def check_stems(recording: Recording, num_stems: int) -> None:
    """Check that a recording and its stems fit into one answer, also in base64.

    Raises:
        InputError: they don't.
    """
    num_bytes = recording.num_samples * recording.num_channels * recording.sample_width
    at_most = MAX_ANSWER_BYTES * 3 // 4 // (num_stems + 1)
    if num_bytes > at_most:
        raise InputError(
            f"{recording.duration_s:.1f} s take {num_bytes / 2**20:.0f} MiB, and as much for each "
            f"stem; at most {at_most >> 20} MiB are allowed, so send a shorter part, or a lower "
            "rate",
            "init_audio",
        )


def _check_bytes(recording: Recording, num_samples: int, field: str) -> None:
    num_bytes = num_samples * recording.num_channels * recording.sample_width
    if num_bytes > MAX_RECORDING_BYTES:
        raise InputError(
            f"{num_samples / recording.sample_rate:.1f} s at {recording.sample_rate} Hz and "
            f"{recording.bits} bits take {num_bytes / 2**20:.0f} MiB; at most "
            f"{MAX_RECORDING_BYTES >> 20} MiB are allowed, so send a shorter part, or a lower rate",
            field,
        )
