"""`riffusion stems` and `riffusion remix`, from the command line to the files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Run, WriteRecording
from tests.editing.band import LEVEL, RATE, band

STEMS = ["drums", "bass", "harmonic", "residual"]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    mix = np.sum(list(band(1).values()), axis=0)
    path = tmp_path / "song.flac"
    soundfile.write(path, np.stack([mix, 0.8 * mix], axis=1), RATE, subtype="PCM_24")
    return path


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int32", always_2d=True)[0].astype(np.int64)


@pytest.mark.parametrize("extension", [None, "flac", ".flac"])
def test_stems_add_up_to_the_song(
    extension: str | None, run: Run, song: Path, tmp_path: Path
) -> None:
    options = [] if extension is None else ["--extension", extension]
    result = run("stems", song, "-o", tmp_path / "new" / "stems", *options)
    assert (result.code, result.err) == (0, "")
    suffix = "wav" if extension is None else "flac"
    paths = [tmp_path / "new" / "stems" / f"{name}.{suffix}" for name in STEMS]
    assert [soundfile.info(path).subtype for path in paths] == ["PCM_24"] * 4
    assert np.array_equal(sum(samples(path) for path in paths), samples(song))
    speed, *written = result.out.splitlines()
    assert speed.startswith("stems       5.12 s in ") and speed.endswith("× real time")
    assert written == [f"Wrote {path} (5.12 seconds)" for path in paths]


def test_stems_may_be_written_in_lossy_formats(run: Run, song: Path, tmp_path: Path) -> None:
    result = run("stems", song, "-o", tmp_path / "stems", "--extension", "mp3")
    assert result.code == 0
    assert {path.name for path in (tmp_path / "stems").iterdir()} == {f"{n}.mp3" for n in STEMS}


def test_a_remix_is_made_of_the_stems(run: Run, song: Path, tmp_path: Path) -> None:
    assert run("stems", song, "-o", tmp_path).code == 0
    drums, _, harmonic, residual = (samples(tmp_path / f"{name}.wav") for name in STEMS)
    output = tmp_path / "remix.wav"
    result = run(
        "remix", song, "--gain", "drums=+6dB", "--gain", "harmonic=-3.5", "--mute", "bass",
        "--output", output,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert f"Wrote {output} (5.12 seconds)" in result.out
    expected = 10 ** (6 / 20) * drums + 10 ** (-3.5 / 20) * harmonic + residual
    assert np.abs(samples(output) - expected).max() <= 256
    assert soundfile.info(output).subtype == "PCM_24"


def test_muting_the_drums_silences_the_drums(run: Run, song: Path, tmp_path: Path) -> None:
    result = run("remix", song, "--mute", "drums", "-o", tmp_path / "remix.wav")
    assert result.code == 0
    remix = samples(tmp_path / "remix.wav")[:, 0] / 2.0**31
    quiet = np.sum([band(1)[name] for name in ("bass", "harmonic")], axis=0)
    difference = np.sqrt(np.mean((remix - quiet) ** 2))
    assert difference < LEVEL / 2  # with the drums it is the whole level


@pytest.mark.parametrize("gain", ["drums=6", "drums=+6dB", "drums=6.0 db", "drums=+6.DB"])
def test_gains_may_be_written_in_several_ways(
    gain: str, run: Run, song: Path, tmp_path: Path
) -> None:
    for name, text in (("a.wav", gain), ("b.wav", "drums=+6dB")):
        assert run("remix", song, "--gain", text, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_the_help_names_the_stems(run: Run) -> None:
    for command in ("stems", "remix"):
        text = " ".join(run(command, "--help").out.split())
        assert all(name in text for name in STEMS)


def test_fifty_milliseconds_have_stems_too(
    run: Run, write_recording: WriteRecording, tmp_path: Path
) -> None:
    song = write_recording("short.wav", duration_s=0.05)
    assert run("stems", song, "-o", tmp_path / "stems").code == 0
    parts = [samples(tmp_path / "stems" / f"{name}.wav") for name in STEMS]
    assert np.array_equal(sum(parts), samples(song))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--restyle", "choir"), "--restyle: 'choir' must be a stem and a text"),
        (("--restyle", "drums="), "--restyle: 'drums=' must be a stem and a text"),
        (("--restyle", "vocals=choir"), "--restyle: 'vocals' is not a stem; use drums, bass, harm"),
        (("--restyle", "bass=a", "--restyle", "bass=b"), "--restyle: 'bass' is named twice"),
        (("--restyle", "bass=(a:101)"), "--restyle: "),
        (
            ("--restyle", "bass=a", "--mute", "bass"),
            "--restyle: 'bass' is muted, too; leave out one",
        ),
        (("--restyle", "bass=a", "--gain", "drums=99"), "--gain: 'drums=99' must be from -40"),
        (("--separator", "magic", "--mute", "bass"), "--separator: 'magic' must be spectral or"),
        (("--separator", "demucs", "--mute", "harmonic"), "--mute: 'harmonic' is not a stem; use"),
    ],
)
def test_remix_refuses(
    options: tuple[str, ...], expected: str, run: Run, song: Path, tmp_path: Path
) -> None:
    result = run("remix", song, "-o", tmp_path / "out.wav", *options)
    assert result.code == 2
    assert result.err.startswith(f"error: {expected}"), result.err
    assert not (tmp_path / "out.wav").exists()


def test_one_stem_gets_another_sound(run: Run, song: Path, tmp_path: Path) -> None:
    """With little denoising the stem stays about as loud; the others stay as they are."""
    output = tmp_path / "out.wav"
    result = run(
        "remix", song, "--restyle", "harmonic=church bells", "--mute", "bass", "--steps", 1,
        "--denoising", 0.2, "--seed", 1, "-o", output,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert f"Wrote {output} (5.12 seconds)" in result.out
    assert run("stems", song, "-o", tmp_path).code == 0
    drums, _, harmonic, residual = (samples(tmp_path / f"{name}.wav") for name in STEMS)
    new = samples(output) - drums - residual
    assert np.abs(new - harmonic).max() > 0.01 * 2**31
    powers = [np.mean(signal.astype(np.float64) ** 2) for signal in (new, harmonic)]
    assert 0.1 < powers[0] / powers[1] < 3
