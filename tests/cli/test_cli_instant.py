"""The preset `instant` on the command line, with a tiny distilled checkpoint and others."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from riffusion.checkpoint.distillation import Distillation
from riffusion.cli.jam import suits_instant
from riffusion.cli.option_groups import PresetDiffusionOptions
from riffusion.io.images import read_image
from riffusion.spectrogram.image import DEFAULT_MAX_VALUE
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.cli.conftest import Result, Run

PARAMS = SpectrogramParams(
    num_frequencies=32, sample_rate=8000, max_frequency=4000, num_griffin_lim_iters=4
)
"""Small, so quick."""
DUAL = Distillation(8, (1.0, 10.0), guided_sampling=True)
SHORT = ("--duration", 0.64)
TWO_CLIPS = ("--minutes", 2 * 0.64 / 60, "--alpha-step", 0.5, "--seed", 7)


@pytest.fixture(scope="module")
def plain(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is not distilled."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    PARAMS.save(folder)
    return folder


@pytest.fixture(scope="module")
def published(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can only be sampled as a distilled one."""
    folder = write_folder(distilled_copy(model), tmp_path_factory.mktemp("published"))
    PARAMS.save(folder)
    return folder


@pytest.fixture(scope="module")
def dual(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can be sampled both ways."""
    folder = tmp_path_factory.mktemp("dual")
    shutil.copytree(published, folder, dirs_exist_ok=True)
    DUAL.save(folder)
    return folder


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 0.64 s to start from."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif().update(PARAMS.to_exif(max_value=DEFAULT_MAX_VALUE))
    path = tmp_path_factory.mktemp("loop") / "loop.png"
    image.save(path, exif=image.getexif())
    return path


def steps_of(result: Result) -> list[int]:
    """Number of steps of each clip that a command made."""
    assert result.code == 0, result.err
    lines = [line for line in result.out.splitlines() if line.startswith("diffusion ")]
    return [int(line.split("(")[1].split()[0]) for line in lines]


def pixels(path: Path) -> Any:
    return np.asarray(read_image(path))


def test_instant_takes_four_steps(tmp_path: Path, dual: Path, run: Run) -> None:
    common = ("--checkpoint", dual, "--seed", 3, *SHORT)
    images = [tmp_path / f"{name}.png" for name in ("preset", "options", "default")]
    options: list[tuple[Any, ...]] = [
        ("--preset", "instant"),
        ("--scheduler", "lcm", "--steps", 4),
        (),
    ]
    results = [
        run("generate", "piano", "-o", tmp_path / "a.wav", "--image", image, *common, *extra)
        for image, extra in zip(images, options, strict=True)
    ]
    assert [steps_of(result) for result in results] == [[4], [4], [20]]
    assert "distilled for up to 8 steps and guidance 1 to 10" in results[0].out
    assert np.array_equal(pixels(images[0]), pixels(images[1]))
    assert not np.array_equal(pixels(images[0]), pixels(images[2]))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("--preset", "fast"), 10),
        (("--preset", "fast", "--steps", 3), 3),
        (("--preset", "reference", "--scheduler", "ddim", "--steps", 5), 5),
        (("--preset", "balanced", "--scheduler", "checkpoint"), 21),  # PNDM repeats a timestep
        (("--scheduler", "checkpoint"), 21),
    ],
)
def test_presets_of_generate(
    tmp_path: Path, plain: Path, run: Run, options: tuple[Any, ...], steps: int
) -> None:
    output = tmp_path / "a.wav"
    result = run("generate", "piano", "-o", output, "--checkpoint", plain, *SHORT, *options)
    assert steps_of(result) == [steps]


def test_interpolate_has_presets(tmp_path: Path, dual: Path, loop: Path, run: Run) -> None:
    result = run(
        "interpolate", "piano", "bells", "-o", tmp_path / "a.wav", "--checkpoint", dual,
        "--steps-between", 3, "--preset", "instant", "--guidance", 3, "--denoising", 0.5,
        "--init-image", loop,
    )  # fmt: skip
    assert steps_of(result) == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "is_instant"),
    [
        ({}, True),
        ({"steps": 8}, True),
        ({"steps": 9}, False),
        ({"guidance": 10.0}, True),
        ({"guidance": 10.5}, False),
        ({"guidance": 0.5}, False),
        ({"negative_prompt": "drums"}, False),
        ({"scheduler": "lcm"}, True),
        ({"scheduler": "euler", "steps": 2}, False),
        ({"scheduler": "checkpoint"}, False),
    ],
)
def test_a_jam_is_instant_by_default_where_the_options_allow_it(
    options: dict[str, Any], is_instant: bool
) -> None:
    assert suits_instant(PresetDiffusionOptions(**options), DUAL) == is_instant
    assert not suits_instant(PresetDiffusionOptions(**options), None)


def test_a_jam_s_clip_is_the_clip_of_generate(
    tmp_path: Path, dual: Path, loop: Path, run: Run
) -> None:
    common = ("--checkpoint", dual, "--guidance", 4, "--init-image", loop)
    jam = run(
        "jam", "piano", "-o", tmp_path / "jam.wav", "--images", tmp_path / "images",
        *TWO_CLIPS, *common,
    )  # fmt: skip
    alone = run(
        "generate", "piano", "-o", tmp_path / "a.wav", "--image", tmp_path / "a.png", "--seed", 7,
        "--preset", "instant", *common,
    )  # fmt: skip
    assert (jam.code, alone.code) == (0, 0), jam.err + alone.err
    assert "preset      instant" in jam.out
    first = tmp_path / "images/clip_00000_seed_7_alpha_0.000.png"
    assert np.array_equal(pixels(first), pixels(tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["plain", "published"])
def test_a_jam_of_other_checkpoints_has_the_preset_that_they_can_do(
    tmp_path: Path, request: pytest.FixtureRequest, loop: Path, run: Run, name: str
) -> None:
    folder = request.getfixturevalue(name)
    result = run(
        "jam", "piano", "-o", tmp_path / "a.wav", "--checkpoint", folder, "--init-image", loop,
        *TWO_CLIPS,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert ("preset      instant" in result.out) == (name == "published")


REFUSALS = [
    ("plain", ("--preset", "instant"), "--preset: 'instant' needs a distilled checkpoint"),
    ("dual", ("--preset", "instant", "--steps", 9), "--steps: 9 must be at most 8"),
    ("dual", ("--scheduler", "lcm"), "--steps: 20 must be at most 8"),
    ("dual", ("--preset", "instant", "--guidance", 0.5), "--guidance: 0.5 must be from 1 to 10"),
    ("dual", ("--preset", "instant", "--guidance", 11), "--guidance: 11 must be from 1 to 10"),
    (
        "dual",
        ("--preset", "instant", "--negative-prompt", "drums"),
        "--negative-prompt: 'drums' has no effect with scheduler 'lcm'",
    ),
    ("published", (), "--scheduler: 'dpmsolver++' must be 'lcm'"),
    ("published", ("--steps", 50, "--scheduler", "checkpoint"), "--steps: 50 must be at most 8"),
    ("published", ("--preset", "reference"), "--scheduler: 'pndm' must be 'lcm'"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSALS)
def test_what_a_checkpoint_cannot_do_is_one_line_with_the_option_and_the_remedy(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    run: Run,
    name: str,
    options: tuple[Any, ...],
    message: str,
) -> None:
    folder = request.getfixturevalue(name)
    output = tmp_path / "a.wav"
    result = run("generate", "piano", "-o", output, "--checkpoint", folder, *SHORT, *options)
    assert result.code == 2
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")
    assert "use --preset=" in errors[0] or "leave it out" in errors[0]
    assert not output.exists()


@pytest.mark.parametrize("command", ["generate", "jam"])
@pytest.mark.parametrize("preset", ["", "Instant", "slow"])
def test_an_unknown_preset_is_refused(
    tmp_path: Path, dual: Path, loop: Path, run: Run, command: str, preset: str
) -> None:
    result = run(
        command, "piano", "-o", tmp_path / "a.wav", "--checkpoint", dual, "--init-image", loop,
        "--preset", preset,
    )  # fmt: skip
    assert result.code == 2
    assert result.err.startswith("error: --preset: Input should be 'instant', 'fast', 'balanced'")
    assert f"not {preset!r}" in result.err
