"""jam with the embedded checkpoint, few steps and short clips."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import measure_loudness, num_samples, read_audio, waveform_from_segment
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from tests.cli.conftest import Run
from tests.patience import PATIENCE_S

CLIP_SAMPLES = 128 * 441
MAX_STEP_LU = 1.0
"""Largest difference in loudness between neighbouring clips."""
FOUR_CLIPS = ("--minutes", 4 * 1.28 / 60, "--alpha-step", 0.5, "--seed", 7)
CHEAP = ("--steps", 2, "--device", "cpu")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A short loop: the first 128 frames of the seed image og_beat."""
    path = tmp_path / "init.png"
    seed_image = Path(__file__).parents[2] / "data/seed_images/og_beat.png"
    Image.open(seed_image).crop((0, 0, 128, 512)).save(path)
    return path


def test_a_jam_has_no_gaps_and_the_same_bytes_each_time(
    tmp_path: Path, image: Path, run: Run
) -> None:
    outputs = [tmp_path / "new/a.wav", tmp_path / "new/b.wav"]
    for output in outputs:
        result = run(
            "jam", "church bells", "jazz trio", "-o", output, "--init-image", image,
            "--images", tmp_path / "images", *FOUR_CLIPS, *CHEAP,
        )  # fmt: skip
        assert result.code == 0, result.err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    piece = read_audio(outputs[0])
    assert num_samples(piece) == 4 * CLIP_SAMPLES
    assert "clip        1 of 4: church bells 7 → jazz trio 8, 0; " in result.out
    assert "clip        2 of 4: church bells 7 → jazz trio 8, 0.5; " in result.out
    assert "clip        4 of 4: jazz trio 8 → jazz trio 9, 0.5; 0:00 to go" in result.out
    assert f"Wrote {outputs[1]} (5.12 seconds)" in result.out
    clips = np.split(waveform_from_segment(piece), 4, axis=1)
    loudness = [measure_loudness(clip, piece.frame_rate) for clip in clips]
    assert np.abs(np.diff(loudness)).max() < MAX_STEP_LU
    names = [path.name for path in sorted((tmp_path / "images").iterdir())]
    assert names == [
        "clip_00000_seed_7_alpha_0.000.png",
        "clip_00001_seed_7_alpha_0.500.png",
        "clip_00002_seed_8_alpha_0.000.png",
        "clip_00003_seed_8_alpha_0.500.png",
    ]
    images = [read_image(tmp_path / "images" / name) for name in names]
    assert SpectrogramParams.from_exif(images[0].getexif()) == SpectrogramParams()
    assert not np.array_equal(np.asarray(images[0]), np.asarray(images[1]))


@pytest.mark.parametrize("preset", ["balanced", "instant"])
def test_a_clip_of_a_jam_is_the_clip_of_its_prompts_and_seeds(
    preset: str, tmp_path: Path, image: Path, run: Run
) -> None:
    """A jam's third clip has the second prompt and the next seed; `generate` makes the same one."""
    same = ("--preset", preset, *CHEAP, "--guidance", 3, "--denoising", 0.9)
    jam = run(
        "jam", "church bells", "jazz trio", "-o", tmp_path / "jam.wav", "--init-image", image,
        "--images", tmp_path / "p", *FOUR_CLIPS, *same,
    )  # fmt: skip
    alone = run(
        "generate", "jazz trio", "-o", tmp_path / "a.wav", "--init-image", image, "--seed", 8,
        "--image", tmp_path / "a.png", *same,
    )  # fmt: skip
    assert (jam.code, alone.code) == (0, 0), jam.err + alone.err
    in_jam = read_image(tmp_path / "p/clip_00002_seed_8_alpha_0.000.png")
    assert np.array_equal(np.asarray(in_jam), np.asarray(read_image(tmp_path / "a.png")))


@pytest.mark.parametrize(("extension", "kind"), [("mp3", signal.SIGTERM), ("m4a", signal.SIGINT)])
def test_an_interrupted_jam_leaves_whole_clips(
    extension: str, kind: signal.Signals, tmp_path: Path, image: Path
) -> None:
    output = tmp_path / f"a.{extension}"
    arguments = ["jam", "bells", "-o", output, "--init-image", image, "--minutes", 1000, *CHEAP]
    command = [sys.executable, "-m", "riffusion", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("clip        3 of "):
            break
    process.send_signal(kind)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (130, "error: interrupted\n")
    num_clips = num_samples(read_audio(output)) / CLIP_SAMPLES
    assert num_clips == int(num_clips) >= 3
    assert f"Wrote {output} ({num_clips * 1.28:.2f} seconds)" in out


def test_a_jam_that_is_refused_keeps_the_older_file(tmp_path: Path, image: Path, run: Run) -> None:
    output = tmp_path / "a.mp3"
    output.write_bytes(b"an older jam")
    result = run(
        "jam", "bells", "piano", "-o", output, "--init-image", image, "--minutes", 0.02, *CHEAP
    )
    assert result.code == 2
    assert result.err.startswith("error: --minutes: 0.02 is too short for 2 prompts")
    assert len(result.err.splitlines()) == 1
    assert output.read_bytes() == b"an older jam"


def test_a_full_disk_ends_a_jam_with_one_line(tmp_path: Path, image: Path, run: Run) -> None:
    output = tmp_path / "full.wav"
    output.symlink_to("/dev/full")
    result = run("jam", "bells", "-o", output, "--init-image", image, *FOUR_CLIPS, *CHEAP)
    assert result.code == 2
    assert result.err == (
        f"error: path={str(output)!r} cannot be written (No space left on device); "
        "make room there, or choose another place\n"
    )
