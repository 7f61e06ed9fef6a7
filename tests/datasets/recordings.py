"""Small recordings and small images for the tests of `dataset build`."""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np

from riffusion.audio import segment_from_waveform, write_audio
from riffusion.datasets.from_audio.builder import BuildReport, build_dataset
from riffusion.datasets.from_audio.formats import ImageFormat
from riffusion.datasets.from_audio.options import BuildOptions, SliceOptions
from riffusion.datasets.from_audio.sources import AudioFile
from riffusion.spectrogram.params import SpectrogramParams

SMALL = ImageFormat(
    SpectrogramParams(
        sample_rate=8000, padded_duration_ms=100, num_frequencies=64, max_frequency=4000
    ),
    32,
)
"""0.32 s of audio in 32 frames of 80 samples."""
SMALL_OPTIONS = (
    *("--width", "32", "--sample-rate", "8000"),
    *("--padded-duration-ms", "100", "--height", "64"),
)
"""`SMALL` for the command line."""


def tone(
    frequency_hz: float, duration_s: float, rate: int = 8000, level: float = 0.3
) -> np.ndarray:
    """A sine (1, samples)."""
    t = np.arange(round(duration_s * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)[None]


def sweep(duration_s: float, rate: int = 8000, channels: int = 1) -> np.ndarray:
    """A tone with rising pitch, so that no two parts of it are the same."""
    t = np.arange(round(duration_s * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * t) * t)
    return np.stack([wave * (1 - 0.3 * channel) for channel in range(channels)]).astype(np.float32)


def write(path: Path, waveform: np.ndarray, rate: int = 8000) -> Path:
    """Write audio in the format of the file's extension, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(segment_from_waveform(waveform, rate), path)
    return path


def write_tagged(path: Path, waveform: np.ndarray, tags: Mapping[str, str]) -> Path:
    """Write a FLAC file at 8 kHz with tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("flac", rate=8000, layout="mono")
        samples = np.rint(waveform * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def files_of(audio_dir: Path) -> list[AudioFile]:
    """Every file of a folder."""
    return [
        AudioFile(path, path.relative_to(audio_dir).as_posix())
        for path in sorted(audio_dir.rglob("*"))
        if path.is_file()
    ]


def build(
    audio_dir: Path, directory: Path, image: ImageFormat = SMALL, **options: object
) -> BuildReport:
    """Run `build_dataset` in this process with fields of `BuildOptions` or `SliceOptions`."""
    names = SliceOptions.__dataclass_fields__
    slices = {name: options.pop(name) for name in list(options) if name in names}
    return build_dataset(
        audio_dir,
        files_of(audio_dir),
        directory,
        BuildOptions(SliceOptions(image, **slices), **options),  # type: ignore[arg-type]
        num_processes=1,
    )


def contents(directory: Path) -> dict[str, bytes]:
    """Content of every file below a folder, including hidden files."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
