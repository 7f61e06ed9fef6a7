"""`make media`: what it draws, which files it writes, and how it refuses.

The checkpoint is tiny and distilled for both ways of sampling; the soundfont is made of sines.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import steps
from corpora.general_midi import scores as scores_module
from corpora.general_midi.notes import DRUM_BANK
from corpora.general_midi.options import CorpusOptions
from corpora.general_midi.sounds import SOUNDS
from corpora.general_midi.synthesize import synthesize_corpus
from riffusion import cli
from riffusion.audio import num_samples, read_audio
from riffusion.checkpoint.distillation import PUBLISHED, Distillation
from riffusion.generation.generator import ClipGenerator
from riffusion.io.images import read_image
from riffusion.spectrogram.params import SpectrogramParams
from scripts.media.__main__ import main
from scripts.media.editing_pictures import EDITS, make_editing_pictures
from scripts.media.maker import MediaMaker, webp
from scripts.media.sounds_page import QUALITY, SIDE, drawn_columns
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.corpora.scores import SCORES
from tests.corpora.sine_soundfont import write_sine_soundfont
from tests.docs.readme import ROOT
from tests.needs import FLUIDSYNTH, need
from tests.patience import PATIENCE_S

LABELS = ("flute", "rock drums")
COLUMNS = ("real", "balanced", "instant")
STEPS = "2"
PARAMS = SpectrogramParams(
    num_frequencies=32,
    sample_rate=8000,
    max_frequency=4000,
    num_griffin_lim_iters=4,
    step_size_ms=80,
    window_duration_ms=320,
    padded_duration_ms=320,
)
"""Small, so quick."""
RATE_HZ = 24_000


@pytest.fixture(scope="module")
def dual(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can be sampled both ways."""
    folder = write_folder(distilled_copy(model), tmp_path_factory.mktemp("dual"))
    Distillation(8, (1.0, 10.0), guided_sampling=True).save(folder)
    PARAMS.save(folder)
    return folder


@pytest.fixture(scope="module")
def plain(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is not distilled."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    PARAMS.save(folder)
    return folder


@pytest.fixture(scope="module")
def soundfont(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("soundfont") / "sine.sf2"
    write_sine_soundfont(path, [(0, 73), *((DRUM_BANK, kit) for kit in (0, 8, 16))])
    return path


@pytest.fixture(scope="module")
def _scores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scores of the tests, in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(scores_module, "parse_scores", lambda *_: SCORES)
        yield


@pytest.fixture(scope="module")
def made(
    dual: Path, soundfont: Path, _scores: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with everything but the plot of steps."""
    need(FLUIDSYNTH)
    folder = tmp_path_factory.mktemp("made")
    assert run(dual, folder, "readme,about,sounds", "--soundfont", str(soundfont)) == 0
    return folder


def run(checkpoint: Path, output: Path, parts: str, *options: str) -> int:
    tiny = ["--steps", STEPS, "--sounds", ",".join(LABELS)]
    return main(
        ["--checkpoint", str(checkpoint), "--output", str(output), "--only", parts, *tiny, *options]
    )


def generate(checkpoint: Path, arguments: list[str], folder: Path) -> tuple[Path, Path]:
    """Run `riffusion generate` with few steps. Returns its image and its audio."""
    image, audio = folder / "clip.png", folder / "clip.mp3"
    files = ["-o", str(audio), "--image", str(image), "--checkpoint", str(checkpoint)]
    assert cli.main(["generate", *arguments, "--steps", STEPS, *files]) == 0
    return image, audio


def names(label: str, column: str) -> tuple[str, str]:
    """Names of a clip's picture and audio on the page."""
    stem = f"{label.replace(' ', '_')}_{column}"
    return f"{stem}.webp", f"{stem}.mp3"


def test_the_page_shows_every_sound_real_and_drawn(made: Path) -> None:
    page = (made / "docs/sounds.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (!.*) \|$", page, re.MULTILINE)
    assert [label for label, _ in rows] == list(LABELS)
    for label, cells in rows:
        files = re.findall(r"\]\(sounds/([^)]+)\)", cells)
        assert files == [file for column in COLUMNS for file in names(label, column)]
        assert all((made / "docs/sounds" / file).is_file() for file in files)
    assert len(list((made / "docs/sounds").iterdir())) == 2 * len(LABELS) * len(COLUMNS)


def test_pictures_and_clips_are_small_and_whole(made: Path) -> None:
    for label in LABELS:
        pictures = []
        for column in COLUMNS:
            picture, audio = (made / "docs/sounds" / name for name in names(label, column))
            pictures.append(np.asarray(Image.open(picture), np.float32))
            assert pictures[-1].shape == (SIDE, SIDE, 3)
            assert pictures[-1].std() > 1, "an empty picture"
            segment = read_audio(audio)
            assert (segment.frame_rate, segment.channels) == (RATE_HZ, 1)
            assert num_samples(segment) == 5.12 * RATE_HZ
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(pictures[first] - pictures[second]).mean() > 1, "the same picture twice"


def test_real_clips_are_held_out_ones_of_the_corpus(
    made: Path, soundfont: Path, tmp_path: Path
) -> None:
    options = CorpusOptions(
        clips_per_sound=2, validation_share=0.5, sounds=LABELS, soundfont=soundfont
    )
    synthesize_corpus(tmp_path, options, 1)
    for label in LABELS:
        shown = (made / "docs/sounds" / names(label, "real")[0]).read_bytes()
        files = [f"{split}/{SOUNDS[label].folder}/000000.png" for split in ("validation", "train")]
        held_out, trained = (
            webp(Image.open(tmp_path / file), side=SIDE, quality=QUALITY) for file in files
        )
        assert shown == held_out
        assert shown != trained


def test_the_pages_commands_draw_its_clips(made: Path, dual: Path, tmp_path: Path) -> None:
    page = (made / "docs/sounds.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("riffusion ")]
    assert len(commands) == len(COLUMNS) - 1
    for command in commands:
        assert command[-2] == "-o"
        image, _ = generate(dual, command[2:-2], tmp_path)
        shown = made / "docs/sounds" / Path(command[-1]).with_suffix(".webp")
        assert shown.read_bytes() == webp(Image.open(image), side=SIDE, quality=QUALITY)


def test_the_readme_shows_the_clip_of_make_demo(made: Path, dual: Path, tmp_path: Path) -> None:
    recipe = re.search(
        r'riffusion generate "\$\(PROMPT\)" (.*) --steps (\d+) (.*?) -o',
        (ROOT / "Makefile").read_text(encoding="utf-8"),
    )
    assert recipe is not None
    assert recipe[2] == "25", "scripts/media/readme.py has the same number"
    options = f"{recipe[1]} {recipe[3]}".split()
    image, audio = generate(dual, ["church bells", *options], tmp_path)
    assert (made / "docs/images/church_bells.png").read_bytes() == image.read_bytes()
    assert (made / "docs/audio/church_bells.mp3").read_bytes() == audio.read_bytes()


@pytest.mark.parametrize("folder", ["made now", "in the repository"])
def test_the_about_page_shows_the_files_that_there_are(folder: str, made: Path) -> None:
    page = (ROOT / "web/about.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'src="\./about/([^"]+)"', page))
    root = made if folder == "made now" else ROOT
    assert len(shown) > 10
    assert {path.name for path in (root / "web/public/about").iterdir()} == shown


def test_the_about_pages_piece_has_the_clips_of_its_pictures(made: Path) -> None:
    clip, piece = (
        num_samples(read_audio(made / f"web/public/about/{name}.mp3"))
        for name in ("church_bells", "between")
    )
    assert piece == 3 * clip


def test_the_site_has_players_for_the_clips(made: Path, tmp_path: Path) -> None:
    settings = f"""site_name: test
docs_dir: {made / "docs"}
site_dir: {tmp_path / "site"}
theme: mkdocs
plugins: []
hooks: [{ROOT / "scripts/mkdocs_hooks.py"}]
"""
    (tmp_path / "mkdocs.yml").write_text(settings)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", tmp_path / "mkdocs.yml"]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    page = tmp_path / "site/sounds/index.html"
    players = re.findall(r'<audio controls [^>]*src="([^"]+)"', page.read_text(encoding="utf-8"))
    assert len(players) == len(LABELS) * len(COLUMNS)
    for source in players:
        assert (page.parent / source).resolve().is_file()


def test_an_undistilled_checkpoint_draws_in_one_way_and_leaves_no_old_files(
    plain: Path, soundfont: Path, _scores: None, tmp_path: Path
) -> None:
    need(FLUIDSYNTH)
    old = tmp_path / "docs/sounds/flute_instant.mp3"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert run(plain, tmp_path, "sounds", "--soundfont", str(soundfont)) == 0
    assert {path.name for path in old.parent.iterdir()} == {
        name for label in LABELS for column in COLUMNS[:2] for name in names(label, column)
    }
    assert "instant" not in (tmp_path / "docs/sounds.md").read_text(encoding="utf-8")


def test_columns_follow_from_what_the_checkpoint_can_do() -> None:
    both = Distillation(8, (1.0, 10.0), guided_sampling=True)
    for distillation, presets in (
        (None, ["balanced"]),
        (both, ["balanced", "instant"]),
        (PUBLISHED, ["instant"]),
    ):
        assert [column.name for column in drawn_columns(distillation)] == presets


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--only", "readme,songs"],
            "only: 'songs' must be one of readme, about, sounds, editing, steps",
        ),
        (
            ["--only", ""],
            "only: '' names no part; choose from readme, about, sounds, editing, steps",
        ),
        (["--sounds", "flute,kazoo"], "sounds: 'kazoo' is not a sound; choose from piano"),
        (["--only", "sounds", "--soundfont", "none.sf2"], "soundfont: 'none.sf2' is not a file"),
        (["--checkpoint", "no/folder"], "no/folder"),
        (["--only", "readme", "--steps", "0"], "num_inference_steps: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(
    options: list[str],
    says: str,
    plain: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--checkpoint", str(plain), "--output", str(tmp_path), *options]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert not list(tmp_path.rglob("*.*"))


def test_steps_are_plotted_for_a_checkpoint_that_is_not_distilled(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside the repository, the saved rows and docs/benchmarks.md stay as they are."""
    plotted: list[steps.StepsRow] = []
    plot = steps.plot
    monkeypatch.setattr(steps, "plot", lambda rows: plotted.extend(rows) or plot(rows))
    monkeypatch.setattr(steps, "NUM_PROMPTS", 1)
    monkeypatch.setattr(steps, "STEPS", (2, 4))
    monkeypatch.setattr(steps, "SCHEDULERS", ("dpmsolver++",))
    monkeypatch.setitem(steps.CONVERGED, "num_inference_steps", 6)
    kept = [ROOT / "docs/benchmarks.md", ROOT / "benchmarks/results/steps.json"]
    before = [path.read_bytes() for path in kept]
    assert run(plain, tmp_path, "steps") == 0
    assert [row.name for row in plotted] == [
        *["dpmsolver++"] * 2,
        *["preset fast", "preset balanced"],
    ]
    (picture,) = tmp_path.rglob("*.*")
    assert picture == tmp_path / "docs/images/steps.png"
    assert read_image(picture).size == (910, 546)
    assert [path.read_bytes() for path in kept] == before


def test_pictures_of_edits(dual: Path, tmp_path: Path) -> None:
    """A command that draws, and one that writes several files; each row shows some sound."""
    maker = MediaMaker(ClipGenerator.load(str(dual)), tmp_path, 2)
    make_editing_pictures(maker, str(dual), ("repaint", "stems"))
    maker.generator.close()
    for name, num_rows in (("repaint", 2), ("stems", 5)):
        picture = read_image(tmp_path / f"docs/images/editing/{name}.webp").convert("L")
        rows = np.array_split(np.asarray(picture, np.float32)[:, 100:-100], num_rows)
        assert all(row.std() > 5 for row in rows)


def test_the_page_shows_the_commands_of_its_pictures() -> None:
    page = (ROOT / "docs/editing.md").read_text(encoding="utf-8")
    for name, edit in EDITS.items():
        assert f"`{edit.shown()}`" in page
        assert f"](images/editing/{name}.webp)" in page
        assert (ROOT / f"docs/images/editing/{name}.webp").is_file()
