"""Drums, bass and harmonic sounds: what is in each stem, and that length costs no memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from riffusion.audio import Recording
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.stems import stem_blocks
from tests.editing.band import RATE, band, sdr_db
from tests.editing.recordings import write
from tests.patience import PATIENCE_S

PACKAGES = Path(__file__).parents[2] / "packages"
IMPROVEMENT_DB = 10.0
"""Signal-to-distortion ratio of a stem, compared with that of the whole mix."""
STEREO_DB = 20.0
"""Level difference of the sides of an instrument."""
CHUNK_TOLERANCE = 1e-5
"""FFTs of several frames at once are rounded in other orders."""
MAX_RATIO = 1.3
"""Memory for the longer recording compared with memory for the shorter one."""


def separated(path: Path, separator: SpectralSeparator | None = None) -> dict[str, np.ndarray]:
    """(channels, samples) of each stem, full scale is 1."""
    separator = separator or SpectralSeparator()
    with Recording.open(path) as recording:
        stems = np.concatenate(list(stem_blocks(recording, separator)), axis=2)
        whole = recording.samples(0, recording.num_samples)
        assert np.array_equal(stems.sum(axis=0), whole)
        full_scale = 2.0 ** (8 * recording.sample_width - 1)
    return dict(zip(separator.names, stems / full_scale, strict=True))


def integers(signal: np.ndarray) -> np.ndarray:
    return np.rint(np.atleast_2d(signal) * 2.0**23).astype(np.int32) << 8


def test_each_stem_is_much_nearer_to_its_instrument_than_the_mix(tmp_path: Path) -> None:
    sources = band()
    mix = np.sum(list(sources.values()), axis=0)
    stems = separated(write(tmp_path / "mix.wav", integers(mix), RATE, 24))
    for name, source in sources.items():
        improvement = sdr_db(source, stems[name][0]) - sdr_db(source, mix)
        assert improvement >= IMPROVEMENT_DB, name
    residual = np.sum(stems["residual"] ** 2) / np.sum(mix**2)
    assert 10 * np.log10(residual) < -20


def test_sides_of_a_stereo_mix_stay_apart(tmp_path: Path) -> None:
    """Drums are mostly on the left, the chords on the right, and the bass is in the middle."""
    sources = band(1)
    quiet = 10 ** (-STEREO_DB / 20)
    left = sources["drums"] + sources["bass"] + quiet * sources["harmonic"]
    right = quiet * sources["drums"] + sources["bass"] + sources["harmonic"]
    stems = separated(write(tmp_path / "mix.flac", integers(np.stack([left, right])), RATE, 24))
    levels = {name: 10 * np.log10(np.mean(stem**2, axis=1)) for name, stem in stems.items()}
    assert levels["harmonic"][1] - levels["harmonic"][0] > STEREO_DB / 2
    assert levels["drums"][0] - levels["drums"][1] > STEREO_DB / 2
    assert abs(levels["bass"][0] - levels["bass"][1]) < 1.5


@pytest.mark.parametrize("rate", [22_050, 48_000, 96_000])
def test_other_rates_give_the_same_stems(rate: int, tmp_path: Path) -> None:
    """Bursts of noise, a chord and a low tone."""
    time = np.arange(2 * rate) / rate
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.05)
    chord = np.sum([np.sin(2 * np.pi * hz * time) for hz in (440.0, 554.4, 659.3)], axis=0)
    tones, low = 0.05 * fade * chord, 0.05 * fade * np.sin(2 * np.pi * 60 * time)
    noise = np.random.default_rng(0).standard_normal(time.size)
    bursts = 0.25 * noise * np.exp(-(time % 0.5) / 0.02)
    mix = tones + low + bursts
    stems = separated(write(tmp_path / "mix.wav", integers(mix), rate, 24))
    for name, source in (("harmonic", tones), ("bass", low), ("drums", bursts)):
        assert sdr_db(source, stems[name][0]) - sdr_db(source, mix) > IMPROVEMENT_DB, name


@pytest.mark.parametrize("num_blocks", [16, 33, 100])
def test_the_size_of_a_chunk_changes_nothing(num_blocks: int, tmp_path: Path) -> None:
    mix = np.sum(list(band(1).values()), axis=0)[:150_001]
    path = write(tmp_path / "mix.wav", integers(mix), RATE, 24)
    whole = separated(path, SpectralSeparator(10_000))
    chunked = separated(path, SpectralSeparator(num_blocks))
    for name, stem in whole.items():
        assert np.abs(stem - chunked[name]).max() < CHUNK_TOLERANCE, name


@pytest.mark.parametrize("length", [1, 100, 1_024, 1_025, 5_000, 44_100])
@pytest.mark.parametrize("level", [0.0, 1e-6, 0.5])
def test_short_and_silent_recordings(length: int, level: float, tmp_path: Path) -> None:
    signal = level * np.sin(np.arange(length) * 0.05)
    stems = separated(write(tmp_path / "short.wav", integers(signal), RATE, 24))
    assert all(stem.shape == (1, length) for stem in stems.values())
    if level == 0:
        assert all(not stem.any() for stem in stems.values())


PEAK_MEMORY = """
import sys
from pathlib import Path
from riffusion.audio import Recording
from riffusion.editing.separation import SpectralSeparator
from riffusion.editing.stems import write_stems
separator, folder = SpectralSeparator(), Path(sys.argv[2])
with Recording.open(sys.argv[1]) as recording:
    write_stems(recording, separator, {name: folder / f"{name}.wav" for name in separator.names})
assert "torch" not in sys.modules
status = Path("/proc/self/status").read_text()
(peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
print(peak)
"""


def test_ten_minutes_take_as_much_memory_as_one(tmp_path: Path) -> None:
    rate = 22_050
    generator = np.random.default_rng(0)
    peaks = []
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        noise = generator.integers(-(2**28), 2**28, (2, 60 * rate * minutes), dtype=np.int32)
        write(path, noise, rate, 16)
        done = subprocess.run(
            [sys.executable, "-c", PEAK_MEMORY, path, tmp_path],
            env=os.environ | {"PYTHONPATH": str(PACKAGES), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] <= MAX_RATIO * peaks[0], peaks
