"""Audio files of every container that libsndfile and FFmpeg write, with odd samples and damage."""

import functools
import io

import av
import numpy as np
import soundfile
from hypothesis import strategies as st

from tests.audio.hostile_audio import silent_flac
from tests.fuzz.damage import damaged

RATES = (1, 8000, 11_025, 44_100, 48_000, 192_000)
CHANNELS = (1, 2, 3, 8)
NUM_SAMPLES = (0, 1, 2, 1000, 30_000)
SIGNALS = ("noise", "silence", "NaN", "infinite", "huge", "denormal", "square")
AV_CODECS = {
    "adts": "aac",
    "ipod": "aac",
    "mp4": "aac",
    "matroska": "flac",
    "webm": "libopus",
    "ogg": "libopus",
    "mp2": "mp2",
    "ac3": "ac3",
    "wav": "adpcm_ima_wav",
    "caf": "alac",
    "mov": "pcm_s24le",
    "nut": "pcm_f32le",
}
_FALLBACK = ("WAV", "FLOAT")
_LEFT_OUT = ("RAW", "SD2")
"""One has no header; of the other, libsndfile writes a second file into the current folder."""


@functools.cache
def _subtypes() -> tuple[tuple[str, str], ...]:
    """Containers and encodings of libsndfile."""
    return tuple(
        (container, subtype)
        for container in sorted(soundfile.available_formats())
        if container not in _LEFT_OUT
        for subtype in sorted(soundfile.available_subtypes(container))
    )


def _samples(signal: str, count: int, channels: int) -> np.ndarray:
    samples = np.random.default_rng(count).uniform(-0.5, 0.5, (count, channels))
    values = {"silence": 0.0, "NaN": np.nan, "infinite": np.inf, "huge": 1e30, "denormal": 1e-40}
    if signal in values:
        samples[::2] = values[signal]
    if signal == "square":
        samples = np.sign(samples)
    return samples.astype(np.float32)


@st.composite
def _sndfiles(draw: st.DrawFn) -> bytes:
    container, subtype = draw(st.sampled_from(_subtypes()))
    # libsndfile itself crashes when it compands what isn't a number, and LAME when it encodes that
    is_fragile = subtype in ("ALAW", "ULAW") or subtype.startswith("MPEG")
    signals = SIGNALS[:2] if is_fragile else SIGNALS
    samples = _samples(
        draw(st.sampled_from(signals)),
        draw(st.sampled_from(NUM_SAMPLES)),
        draw(st.sampled_from(CHANNELS)),
    )
    rate = draw(st.sampled_from(RATES))
    for container_, subtype_ in ((container, subtype), _FALLBACK):
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, samples, rate, subtype_, format=container_)
        except (soundfile.LibsndfileError, ValueError, TypeError, AssertionError):
            continue  # the container can't hold it; soundfile asserts that all was written
        return buffer.getvalue()
    raise AssertionError("a WAV file of floats can always be written")


@functools.cache
def _av_file(container: str, layout: str, num_frames: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(AV_CODECS[container], rate=48_000, layout=layout)
        channels = len(av.AudioLayout(layout).channels)
        for start in range(num_frames):
            noise = _samples("noise", 1024, channels).T.copy()
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = 48_000, 1024 * start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


_av_files = st.builds(
    _av_file,
    st.sampled_from(sorted(AV_CODECS)),
    st.sampled_from(["mono", "stereo"]),
    st.sampled_from([1, 20]),
)


@functools.cache
def _bombs() -> tuple[bytes, ...]:
    """Small files with minutes of audio, or none at all."""
    return (
        silent_flac(45, 192_000, "7.1"),
        b"\xff\xf1\x50\x80\x00\xff\xfc" * 20_000,  # AAC frames that are only headers
        b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"OggS" * 1000,
        b"fLaC" + b"\x84\xff\xff\xff",
        b"#!AMR\n" + bytes(32),
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"MThd\0\0\0\6\0\1\xff\xff\0\0MTrk\xff\xff\xff\xff",
    )


def audio_files() -> st.SearchStrategy[bytes]:
    """Audio files; some are damaged, some are bombs, some hold no audio."""
    return st.one_of(
        damaged(_sndfiles()),
        damaged(_sndfiles()),
        damaged(_av_files),
        damaged(st.deferred(lambda: st.sampled_from(_bombs()))),
        st.binary(max_size=64),
    )
