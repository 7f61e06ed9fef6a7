"""The pages on training and on Ray are correct: commands parse, files exist, Python code runs."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from corpora.general_midi.captions import prompts_for
from corpora.general_midi.options import CorpusOptions
from corpora.general_midi.sounds import SOUNDS
from riffusion.audio import Audio, write_audio
from riffusion.cli.app import app
from riffusion.training.config import FineTuneConfig, load_config
from tests.editing.signals import ROCK, SAMPLE_RATE, drum_track, steady_beats
from tests.generation.unconditional_checkpoints import write_checkpoint
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
GUIDE, EXAMPLE = ROOT / "docs/training.md", ROOT / "examples/new_sound/README.md"
UNCONDITIONAL = ROOT / "docs/audio_diffusion.md"
RAY = ROOT / "docs/ray.md"


def blocks(page: Path, language: str = "") -> list[str]:
    """Code blocks of a page, without indentation."""
    pattern = rf"^( *)```{language}\n(.*?)^ *```$"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return ["\n".join(line[len(indent) :] for line in code.splitlines()) for indent, code in found]


def commands(page: Path) -> list[list[str]]:
    """Arguments of every `riffusion …` line."""
    lines = [line for code in blocks(page) for line in code.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("riffusion ")]


@pytest.mark.parametrize(
    "arguments",
    [*commands(GUIDE), *commands(EXAMPLE), *commands(UNCONDITIONAL), *commands(RAY)],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_a_command_parses_and_its_configuration_loads(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    with group.make_context("riffusion", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
        while hasattr(command, "resolve_command"):
            with command.make_context(name, rest[:1], parent=context) as inner:
                name, command, rest = command.resolve_command(inner, rest)
        command.make_context(name, rest, parent=context)
    if arguments[0] in ("train", "distill"):
        assert load_config(ROOT / arguments[1]).run.steps > 0


@pytest.mark.parametrize(
    "page", [GUIDE, EXAMPLE, UNCONDITIONAL], ids=["guide", "example", "unconditional"]
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_the_guide_has_every_kind_of_command() -> None:
    assert {arguments[0] for arguments in commands(GUIDE)} >= {
        "dataset",
        "train",
        "distill",
        "evaluate",
        "generate",
    }


def test_the_example_makes_the_stated_numbers_of_clips() -> None:
    made = {arguments[2]: arguments for arguments in commands(EXAMPLE) if arguments[0] == "dataset"}

    def options(name: str) -> CorpusOptions:
        given = made[f"new_sound/{name}"]
        value = dict(itertools.pairwise(given))
        return CorpusOptions(
            clips_per_sound=int(value["--clips-per-sound"]),
            validation_share=float(value["--validation-share"]),
        )

    new, old = options("sitar"), options("old")
    assert (new.num_clips("train"), new.num_clips("validation")) == (20, 12)
    assert (old.num_clips("train"), old.num_clips("validation")) == (20, 0)
    judged = dict(itertools.pairwise(made["new_sound/judge"]))
    known = {label for label, sound in SOUNDS.items() if not sound.is_held_out}
    assert set(judged["--sounds"].split(",")) == known | {"sitar"}


def test_the_example_adds_words_that_old_captions_do_not_contain() -> None:
    config = load_config(ROOT / "examples/new_sound/fine_tune.yaml")
    assert isinstance(config, FineTuneConfig)
    words = set(config.initial_phrases)
    assert "sitar" in words
    for label, sound in SOUNDS.items():
        if sound.is_held_out:
            continue
        for _, prompt in prompts_for(label):
            assert not words & set(re.findall(r"[a-z]+", prompt)), prompt
        names = " ".join((label, *sound.names, *sound.styles))
        assert not words & set(re.findall(r"[a-z]+", names)), names
    for name in SOUNDS["sitar"].names:
        assert words & set(name.split()), f"{name} has no word of its own"


def test_the_example_compares_two_reports(tmp_path: Path) -> None:
    for name, new in (("before", 0.0), ("after", 0.75)):
        labels = [("piano", 1.0), ("sitar", new), ("flute", 0.5)]
        report = {"adherence": {"labels": [{"name": n, "accuracy": a} for n, a in labels]}}
        (tmp_path / "new_sound" / name).mkdir(parents=True)
        (tmp_path / "new_sound" / name / "report.json").write_text(json.dumps(report))
    (code,) = blocks(EXAMPLE, "python")
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.stdout.splitlines() == [
        "before: sitar 0%, old sounds 75.0%",
        "after: sitar 75%, old sounds 75.0%",
    ]


def test_the_page_on_unconditional_checkpoints_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "checkpoint", gain=0.01)
    for seed, name in enumerate(("song.wav", "other.wav")):
        drums = drum_track(ROCK, steady_beats(120, 4, 0.1), 4, seed=seed)
        write_audio(Audio(drums, SAMPLE_RATE), name)
    (code,) = blocks(UNCONDITIONAL, "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert {path.name for path in tmp_path.glob("clip-*")} == {"clip-1.wav", "clip-2.wav"}
    assert names["between"].audio.duration_s == names["continued"].audio.duration_s
    assert names["looped"].duration_s == pytest.approx(4 * 2, rel=0.01)  # a bar of 2 s
