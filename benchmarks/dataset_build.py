"""A folder of audio to images: ours compared with a loop of librosa and Pillow, on two cores.

    python -m benchmarks.dataset_build [--minutes 5] [--repeats 3]

Theirs is `librosa.load`, `librosa.feature.melspectrogram` and Pillow's PNG, slice by slice, with
BLAS's default number of threads; ours is the command `riffusion dataset build` with one process per
core. Both make the same images of the same songs (checked pixel by pixel): 512×512, n_fft 17640,
hop 441, 512 mel bands.

They run alternately, each in a new interpreter. Theirs is timed after its imports and scaled to an
hour. Ours is timed on an hour of audio that consists of links to the same songs: once as the whole
command, and once minus the time of the same command for two slices, which is the time to start
Python and import NumPy, SciPy and PyAV in every process. CPU seconds include all processes and
threads, and depend less on other load of the machine.
"""

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import results
from riffusion.datasets.from_audio.formats import PRESETS, ImageFormat

NUM_CORES = 2
REPEATS = 3
MINUTES = 5
SONG_S = 61.44
"""Twelve slices of 5.12 s."""
LEVEL_TOLERANCE = 1
"""Grey levels: FFT libraries round differently."""
PRESET = "riffusion"
NAMES = (
    "librosa and Pillow",
    "`riffusion dataset build`",
    "… without starting its processes",
)


@dataclasses.dataclass(frozen=True)
class DatasetBuildRow:
    """Median times for an hour of audio. Field names are keys of results/dataset_build.json.

    Args:
        implementation: one of `NAMES`.
        pictures: number of images.
        seconds: wall-clock time.
        cpu_seconds: CPU time of all processes and threads.
    """

    implementation: str
    pictures: int
    seconds: float
    cpu_seconds: float


def write_songs(directory: Path, minutes: float) -> int:
    """Write songs made of our loops as stereo FLAC at 44.1 kHz. Returns their number."""
    from riffusion.audio import segment_from_waveform, write_audio
    from riffusion.loops.arrangements import ARRANGEMENTS
    from riffusion.loops.seed_images import make_seed_image

    directory.mkdir()
    count = max(1, round(minutes * 60 / SONG_S))
    rng = np.random.default_rng(0)
    for song in range(count):
        parts = [
            make_seed_image(style, seed=song)[1][:, : round(5.12 * 44100)] for style in ARRANGEMENTS
        ]
        loop = np.concatenate(parts, axis=1)
        mono = np.resize(loop, (1, round(SONG_S * 44100)))
        stereo = np.concatenate([mono, mono]) * 0.7
        stereo += 1e-3 * rng.standard_normal(stereo.shape).astype(np.float32)
        write_audio(segment_from_waveform(stereo, 44100), directory / f"song {song:02d}.flac")
    return count


def write_two_slices(directory: Path, image: ImageFormat) -> None:
    """Write two recordings of one slice each, so that two processes are started."""
    from riffusion.audio import segment_from_waveform, write_audio

    directory.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, image.num_samples))
    segment = segment_from_waveform(noise, image.params.sample_rate)
    for name in ("a.flac", "b.flac"):
        write_audio(segment, directory / name)


def link_songs(songs: Path, directory: Path, copies: int) -> None:
    """Link each song `copies` times; the first copies come first, in the order of the songs."""
    directory.mkdir()
    for song in songs.iterdir():
        for copy in range(copies):
            (directory / f"{copy:03d} {song.name}").symlink_to(song)


def build_with_librosa(audio_dir: Path, output: Path, image: ImageFormat) -> float:
    """The loop that most people would write. Returns its seconds without imports."""
    from PIL import Image

    from riffusion.audio.compiled_librosa import load_librosa

    librosa = load_librosa()
    params = image.params
    output.mkdir()
    librosa.feature.melspectrogram(y=np.zeros(4096, np.float32))  # imports lazily
    started = time.perf_counter()
    for path in sorted(audio_dir.iterdir()):
        audio, _ = librosa.load(path, sr=params.sample_rate, mono=True)
        for number in range(len(audio) // image.num_samples):
            start = number * image.num_samples
            mel = librosa.feature.melspectrogram(
                y=audio[start : start + image.num_samples],
                sr=params.sample_rate,
                n_fft=params.n_fft,
                win_length=params.win_length,
                hop_length=params.hop_length,
                pad_mode="reflect",
                power=1.0,
                n_mels=params.num_frequencies,
                fmin=params.min_frequency,
                fmax=params.max_frequency,
                htk=params.mel_scale_type == "htk",
                norm=params.mel_scale_norm,
            )[:, : image.width]
            relative = (mel / mel.max()) ** params.power_for_image
            pixels = np.rint(255 - 255 * relative).astype(np.uint8)[::-1]
            Image.fromarray(pixels).save(output / f"{path.stem}-{number:04d}.png")
    return time.perf_counter() - started


def measure(
    minutes: float = MINUTES, repeats: int = REPEATS, preset: str = PRESET
) -> list[DatasetBuildRow]:
    """Run both alternately, theirs first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_songs(folder / "songs", minutes)
        write_two_slices(folder / "two", PRESETS[preset])
        to_hour = 3600 / (count * SONG_S)
        copies = max(1, round(to_hour))
        link_songs(folder / "songs", folder / "hour", copies)
        num_images = 0
        for repeat in range(repeats):
            theirs, ours = folder / f"theirs{repeat}", folder / f"ours{repeat}"
            own_s, cpu_s = _run_librosa(folder / "songs", theirs, preset)
            times[NAMES[0]].append((own_s * to_hour, cpu_s * to_hour))
            clock_s, cpu_s = _run_ours(folder / "hour", ours, preset)
            share = to_hour / copies
            times[NAMES[1]].append((clock_s * share, cpu_s * share))
            start_s, start_cpu_s = _run_ours(folder / "two", folder / f"two{repeat}", preset)
            times[NAMES[2]].append(((clock_s - start_s) * share, (cpu_s - start_cpu_s) * share))
            num_images = _compare(theirs, ours, copies)
    return [
        DatasetBuildRow(
            name,
            round(num_images * to_hour),
            statistics.median(clock for clock, _ in pairs),
            statistics.median(cpu for _, cpu in pairs),
        )
        for name, pairs in times.items()
    ]


def markdown(rows: list[DatasetBuildRow]) -> str:
    """The rows as a table."""
    theirs = rows[0]
    lines = ["| an hour of audio | images | seconds | speedup | CPU seconds | ratio |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {row.implementation} | {row.pictures} | {row.seconds:.1f} "
        f"| **{theirs.seconds / row.seconds:.1f}×** | {row.cpu_seconds:.1f} "
        f"| {theirs.cpu_seconds / row.cpu_seconds:.1f}× |"
        for row in rows
    ]
    return "\n".join(lines)


def _run_librosa(audio_dir: Path, output: Path, preset: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of their loop, without its imports."""
    seconds, cpu_s, printed = _run(
        ["benchmarks.dataset_build", "--run", audio_dir, output, "--preset", preset]
    )
    own_s = float(printed)
    return own_s, cpu_s * own_s / seconds  # an estimate


def _run_ours(audio_dir: Path, output: Path, preset: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of the command."""
    options = ["--preset", preset, "--processes", str(NUM_CORES), "--validation-share", "0"]
    seconds, cpu_s, _ = _run(["riffusion", "dataset", "build", audio_dir, "-o", output, *options])
    return seconds, cpu_s


def _run(arguments: list[str | Path]) -> tuple[float, float, str]:
    """Wall-clock seconds, CPU seconds of all its processes, and output of a Python module."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return seconds, cpu_s, done.stdout


def _compare(theirs: Path, ours: Path, copies: int) -> int:
    """Check that both made the same images. Returns the number of theirs."""
    from PIL import Image

    expected = sorted(theirs.iterdir())
    built = sorted(ours.glob("train/*/*.png"))
    if len(built) != copies * len(expected):
        raise SystemExit(f"{len(built)} images instead of {copies} × {len(expected)}")
    for left, right in zip(expected, built, strict=False):  # the first copy of each song
        with Image.open(left) as a, Image.open(right) as b:
            difference = np.abs(np.asarray(a).astype(int) - np.asarray(b))
        if difference.max() > LEVEL_TOLERANCE:
            raise SystemExit(f"{right} differs from {left} by {difference.max()} grey levels")
    return len(expected)


def main() -> None:
    """Measure and save the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="minutes of different songs")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--preset", choices=PRESETS, default=PRESET)
    parser.add_argument("--run", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        audio_dir, output = options.run
        print(build_with_librosa(audio_dir, output, PRESETS[options.preset]))
        return
    rows = measure(options.minutes, options.repeats, options.preset)
    results.save("dataset_build", rows, markdown(rows))


if __name__ == "__main__":
    main()
