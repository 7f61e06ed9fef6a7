"""Ranking clips by a classifier and by CLAP, and `riffusion generate --best`."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from riffusion.cli import main
from riffusion.errors import CheckpointError, InputError
from riffusion.evaluation.ranking import load_judge
from tests.corpora.small_corpus import LABELS, NUM_SAMPLES, PARAMS, play
from tests.evaluation.tiny_clap import write_tiny_clap


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLAP model with random weights, and a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("clap")
    write_tiny_clap(folder)
    words = {word: index for index, word in enumerate(("<pad>", "<unk>", *LABELS))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=8
    )
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("label", LABELS)
def test_the_classifier_prefers_the_sound_that_the_prompt_names(
    label: str, classifier_dir: Path
) -> None:
    judge = load_judge(classifier_dir, f"slow {label.upper()}, live", PARAMS)
    scores = {other: judge.score(play(other, 7)) for other in LABELS}
    assert max(scores, key=lambda other: scores[other]) == label
    assert all(0 <= score <= 1 for score in scores.values())


def test_clap_compares_text_and_audio(clap: Path) -> None:
    scores = [load_judge(clap, text, PARAMS).score(play("drums", 0)) for text in LABELS]
    assert all(-1 <= score <= 1 for score in scores)
    assert len(set(scores)) == len(LABELS)
    again = load_judge(clap, LABELS[0], PARAMS).score(play("drums", 0))
    assert again == pytest.approx(scores[0])


def test_judges_that_are_refused(classifier_dir: Path, clap: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'violin' names none of them"):
        load_judge(classifier_dir, "violin", PARAMS)
    with pytest.raises(InputError, match="'pads' names none of them"):
        load_judge(classifier_dir, "pads", PARAMS)
    with pytest.raises(InputError, match=r"has neither classifier.json nor"):
        load_judge(tmp_path, "pad", PARAMS)
    judge = load_judge(classifier_dir, "pad", PARAMS)
    with pytest.raises(InputError, match="images of 64×64 pixels, and the clip's has 128×64"):
        judge.score(play("pad", 0).resize((128, 64)))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (clap / name).rename(tmp_path / name)
    try:
        with pytest.raises(CheckpointError, match="no readable tokenizer"):
            load_judge(clap, "pad", PARAMS)
    finally:
        for path in tmp_path.iterdir():
            path.rename(clap / path.name)


def test_only_the_best_clips_are_written(
    checkpoint: Path, classifier_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are printed; the files are those of the seeds with the highest ones."""
    words = ["generate", "pad", "--checkpoint", str(checkpoint), "--steps", "2", "--seed", "5"]
    duration_s = NUM_SAMPLES / PARAMS.sample_rate
    words += ["--count", "4", "--duration", str(duration_s), "-o", str(tmp_path / "pad.wav")]
    words += ["--best", "2", "--judge", str(classifier_dir), "--image", str(tmp_path / "pad.png")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[1]) for line in lines if line.startswith("score ")]
    assert len(scores) == 4 and len(set(scores)) == 4
    best = sorted(range(5, 9), key=lambda seed: -scores[seed - 5])[:2]
    expected = {f"pad-{seed}.{ending}" for seed in best for ending in ("wav", "png")}
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--best", "2"), "--best: 2 must be from 1 to --count=1"),
        (("--best", "0", "--count", "3"), "--best: 0 must be from 1 to --count=3"),
        (("--best", "1"), "--best: 1 needs a judge; name the folder"),
        (("--judge", "folder"), "--judge: ranks clips for --best; add it"),
    ],
)
def test_options_that_belong_together(
    options: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "pad", "-o", str(tmp_path / "a.wav"), *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {expected}")
