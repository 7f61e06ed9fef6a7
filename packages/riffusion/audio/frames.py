"""Frames of an audio stream, as FFmpeg decodes them, and how long the audio in them is."""

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags2

logger = logging.getLogger(__name__)

MAX_PADDING = 4096
"""Largest number of samples in an encoder's last packets beyond the end of the audio."""
JOINED_SAMPLES = 2**14
"""Samples per channel that are converted at once: a frame has about 1,000, and for so few numpy's
calls take longer than its arithmetic."""
_EXACT_CODECS = {("caf", "alac"), ("caf", "flac"), ("ogg", "vorbis")}
"""Containers and codecs for which FFmpeg applies the record of padding wrongly: ALAC and FLAC have
none in their last frame, and of short Vorbis files FFmpeg drops the last packet, or keeps all."""
_COUNTED_CODECS = ("adpcm_", "gsm_ms")
"""Codecs in WAV files whose number of samples is in a chunk of its own, `fact`, without padding."""


class Frames:
    """Iterates over all frames that can be decoded.

    Damaged packets are skipped; a damaged container ends the iteration.

    Attributes:
        is_exact: FFmpeg doesn't apply the container's record of padding; see `_EXACT_CODECS`.
        end: end of the last packet in the stream's time base, once all frames are read.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.container = container
        self.stream = stream
        self.end = 0
        self.is_exact = (container.format.name, stream.codec_context.name) in _EXACT_CODECS
        if self.is_exact:
            stream.codec_context.flags2 |= Flags2.skip_manual

    def __iter__(self) -> Iterator[av.AudioFrame]:
        num_damaged = 0
        # Vorbis begins with half of an overlap (Vorbis I specification, section 4.3.8), which
        # FFmpeg drops only together with the padding.
        has_lead = self.is_exact and self.stream.codec_context.name == "vorbis"
        try:
            for packet in self.container.demux(self.stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    num_damaged += 1
                    continue
                if packet.pts is not None:
                    self.end = max(self.end, packet.pts + (packet.duration or 0))
                for frame in frames:
                    if frame.samples and has_lead:
                        has_lead = False
                    elif frame.samples:
                        yield frame
        except av.FFmpegError as error:
            logger.warning("the audio file is damaged, the rest of it is left out: %s", error)
        if num_damaged:
            logger.warning("the audio file is damaged: %d packets are left out", num_damaged)


def is_wide(stream: av.AudioStream, frame: av.AudioFrame) -> bool:
    """Whether the source has more than 16 bits. Lossy codecs decode to floats, but have fewer."""
    lossless_floats = stream.codec_context.name.startswith(("pcm_f", "wavpack"))
    name = frame.format.name
    return name.startswith(("s32", "s64")) or (name[:3] in ("flt", "dbl") and lossless_floats)


def array_of_frame(frame: av.AudioFrame) -> npt.NDArray[Any]:
    """A frame's samples, (channels, samples), in the decoder's type."""
    is_planar, num_channels = frame.format.is_planar, frame.layout.nb_channels
    if frame.format.name.startswith("s64"):  # PyAV converts no such samples
        size = 8 * frame.samples * (1 if is_planar else num_channels)
        planes = [np.frombuffer(bytes(plane)[:size], np.int64) for plane in frame.planes]
        array: npt.NDArray[Any] = np.stack(planes)
    else:
        array = frame.to_ndarray()
    return array if is_planar else array.reshape(-1, num_channels).T


def joined(
    arrays: Iterable[npt.NDArray[Any]], num_samples: int = JOINED_SAMPLES
) -> Iterator[npt.NDArray[Any]]:
    """Consecutive arrays (channels, samples) as fewer ones, of at least `num_samples` but the last.

    Arrays of another type begin a new one.
    """
    waiting: list[npt.NDArray[Any]] = []
    length = 0
    for array in arrays:
        if waiting and array.dtype != waiting[0].dtype:
            yield np.concatenate(waiting, axis=1)
            waiting, length = [], 0
        waiting.append(array)
        length += array.shape[1]
        if length >= num_samples:
            yield np.concatenate(waiting, axis=1)
            waiting, length = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


def recorded_length(frames: Frames, first: av.AudioFrame, length: int) -> int:
    """Number of samples that an m4a, mp4, caf, ogg or wav file records.

    In m4a and mp4, the edit list and the last packet have it.
    FFmpeg's mov demuxer starts at the start of the edit list, but decodes the whole last packet.
    A difference larger than a packet means a wrong header; `length` is returned then.
    """
    stream = frames.stream
    is_counted = frames.container.format.name == "wav" and stream.codec_context.name.startswith(
        _COUNTED_CODECS
    )
    if (frames.is_exact or is_counted) and stream.duration and stream.time_base:
        recorded = round(stream.duration * stream.time_base * first.sample_rate)
        return min(length, recorded) if length - recorded < MAX_PADDING else length
    if frames.container.format.name[:3] != "mov" or not stream.duration or not stream.time_base:
        return length
    if stream.time_base > Fraction(2, first.sample_rate):  # too coarse to locate a sample
        return length
    duration = min(stream.duration, frames.end - (first.pts or 0))
    recorded = round(duration * stream.time_base * first.sample_rate)
    return recorded if 0 < length - recorded <= MAX_PADDING else length
