"""Recordings to edit: opened from a file, and written in the same rate, channels and width."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from riffusion.audio import AudioWriter, Waveform, read_audio, waveform_from_segment
from riffusion.audio.pcm import samples_from_waveform
from riffusion.audio.segments import AudioSegment, segment_from_samples
from riffusion.errors import InputError, MediaError

_MAX_CHANNELS = 2


class OpenedRecording:
    """A decoded recording in mono or stereo.

    Args:
        path: an audio file.

    Raises:
        InputError: the file can't be read, or has more than two channels.
    """

    def __init__(self, path: Path) -> None:
        segment = read_audio(path)
        if segment.channels > _MAX_CHANNELS:
            raise MediaError(
                f"path={str(path)!r} has {segment.channels} channels; edits take one or two, mix "
                "it to stereo first"
            )
        self.like: AudioSegment = segment[:0]
        self.sample_rate: int = segment.frame_rate
        self.sample_width: int = segment.sample_width
        self._waveform = waveform_from_segment(segment)
        self.num_channels: int = self._waveform.shape[0]
        self.num_samples: int = self._waveform.shape[1]

    @property
    def duration_s(self) -> float:
        return int(self.num_samples) / self.sample_rate

    def waveform(self, start: int, stop: int, /) -> Waveform:
        """Samples from `start` to `stop`: (channels, stop - start) float32 in [-1, 1]."""
        return self._waveform[:, start:stop]


def write_edited(recording: OpenedRecording, parts: Iterable[Waveform], path: Path) -> int:
    """Write parts of an edited recording, whole or not at all.

    Returns:
        The number of samples per channel.

    Raises:
        InputError: the file can't be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    num_samples = 0
    try:
        with AudioWriter(temporary, recording.like) as writer:
            for part in parts:
                samples = samples_from_waveform(part, recording.sample_width)
                writer.write(segment_from_samples(samples, recording.sample_rate))
                num_samples += part.shape[1]
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"path={str(path)!r} cannot be written ({error.strerror}); "
            "make room there, or choose another place"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return num_samples
