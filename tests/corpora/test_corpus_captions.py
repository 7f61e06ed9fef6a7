"""Captions: many, true, and with names that belong to one sound only."""

import re
from collections import Counter

import numpy as np
import pytest

from corpora.general_midi.captions import (
    BARE,
    FILLED,
    HELD_OUT_TEMPLATES,
    NUM_CAPTIONS,
    TEMPLATES,
    Description,
    prompts_for,
    with_article,
    write_captions,
)
from corpora.general_midi.ensembles import ENSEMBLES
from corpora.general_midi.facts import MOODS, measure
from corpora.general_midi.fillers import FILLERS
from corpora.general_midi.idioms import IDIOMS
from corpora.general_midi.notes import Note
from corpora.general_midi.sounds import SOUNDS, find_sounds
from riffusion.errors import InputError

STATED = {*MOODS, "slow", "fast"}
CAPTION = re.compile(r"[a-z0-9]+(,? [a-z0-9]+)*")
"""Lower-case words, separated by single spaces or by commas and spaces."""
SHARE_TOLERANCE = 0.05
"""Eight standard errors of a share over 36 sounds × 20 descriptions × 12 captions."""


def descriptions() -> list[Description]:
    """Twenty per sound, with zero to several words."""
    rng = np.random.default_rng(1)
    return [
        Description(
            sound,
            str(rng.choice(["", "slow", "fast"])),
            tuple(mood for mood in MOODS if rng.random() < 0.3),
            str(rng.choice(sound.styles)),
            float(rng.choice([70.3125, 93.75, 117.1875, 140.625])),
        )
        for sound in SOUNDS.values()
        for _ in range(20)
    ]


def test_no_name_is_shared_by_two_sounds() -> None:
    names = Counter(name for sound in SOUNDS.values() for name in sound.names)
    assert names.most_common(1)[0][1] == 1
    assert all(CAPTION.fullmatch(name) for name in names)
    assert all(len(sound.synonyms) >= 3 for sound in SOUNDS.values())


def test_the_table_of_sounds() -> None:
    kinds = Counter(sound.kind for sound in find_sounds())
    assert kinds == {"instrument": 20, "beat": 5, "mixture": 7}
    held_out = [label for label, sound in SOUNDS.items() if sound.is_held_out]
    assert held_out == ["sitar", "steel drums", "bagpipe", "kalimba"]
    for sound in SOUNDS.values():
        assert sound.idiom in (ENSEMBLES if sound.kind == "mixture" else IDIOMS)
    assert [sound.label for sound in find_sounds(["kalimba", "piano"])] == ["piano", "kalimba"]
    with pytest.raises(InputError, match="'polka' is not a sound; choose from piano, harpsichord"):
        find_sounds(["piano", "polka"])


def test_fillers_are_not_used_elsewhere() -> None:
    named = {word for sound in SOUNDS.values() for name in sound.names for word in name.split()}
    styles = {word for sound in SOUNDS.values() for name in sound.styles for word in name.split()}
    templates = {
        word
        for template in (TEMPLATES | HELD_OUT_TEMPLATES).values()
        for word in re.sub(r"{\w+}|,", " ", template).split()
    }
    assert not set(FILLERS) & (named | styles | templates | STATED)
    assert len(set(FILLERS)) == len(FILLERS) > 300


def test_captions_say_only_what_is_true() -> None:
    for description in descriptions():
        names = re.compile(rf"\b({'|'.join(description.sound.names)})\b")
        true = {description.tempo, *description.moods}
        for _, caption in write_captions(description, np.random.default_rng(0), True):
            assert CAPTION.fullmatch(caption), caption
            assert names.search(caption), caption
            assert set(re.findall(r"\w+", names.sub("", caption))) & STATED <= true, caption


def test_captions_are_many_and_different() -> None:
    used: Counter[str] = Counter()
    num_stating = 0
    for number, description in enumerate(descriptions()):
        captions = write_captions(description, np.random.default_rng(number), False)
        assert captions[0] == (BARE, description.sound.label)
        assert len({caption for _, caption in captions}) == len(captions) == NUM_CAPTIONS >= 8
        used.update(template for template, _ in captions)
        num_stating += sum("{style}" in TEMPLATES.get(name, "") for name, _ in captions)
    assert set(used) == {*TEMPLATES, FILLED}  # and no held-out one
    assert used[FILLED] / used.total() == pytest.approx(1 / 3, abs=SHARE_TOLERANCE)


def test_about_half_of_the_captions_state_more_than_the_name() -> None:
    stated, captions = 0, 0
    for number, description in enumerate(descriptions()):
        for name, _ in write_captions(description, np.random.default_rng(number), False):
            if name not in (BARE, FILLED):
                captions += 1
                template = TEMPLATES[name]
                stated += any(part in template for part in ("{words", "{style}", "{bpm}"))
    assert stated / captions == pytest.approx(0.5, abs=SHARE_TOLERANCE)


def test_validation_also_has_every_held_out_template() -> None:
    assert len(HELD_OUT_TEMPLATES) >= 4
    assert not set(HELD_OUT_TEMPLATES) & set(TEMPLATES)
    for description in descriptions():
        captions = write_captions(description, np.random.default_rng(5), True)
        trained_on = write_captions(description, np.random.default_rng(5), False)
        assert captions[: len(trained_on)] == trained_on
        assert [template for template, _ in captions[len(trained_on) :]] == list(HELD_OUT_TEMPLATES)


@pytest.mark.parametrize("label", SOUNDS)
def test_a_prompt_from_every_template(label: str) -> None:
    prompts = dict(prompts_for(label))
    assert set(prompts) == TEMPLATES.keys() | HELD_OUT_TEMPLATES.keys()
    assert prompts[BARE] == label
    assert not any(word in STATED for prompt in prompts.values() for word in prompt.split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flute", "a flute"),
        ("organ", "an organ"),
        ("church bells", "some church bells"),
        ("brass", "brass"),
        ("techno", "techno"),
        ("ukulele", "a ukulele"),
    ],
)
def test_articles(name: str, expected: str) -> None:
    assert with_article(name) == expected


def loop(start_step: float, duration: float, pitch: int, velocity: int) -> list[Note]:
    return [Note(i * start_step, duration, pitch, velocity) for i in range(round(6 / start_step))]


@pytest.mark.parametrize(
    ("notes", "beats", "mode", "tempo", "moods"),
    [
        # six beats in 5.12 s; a range of 40 to 80
        (loop(2, 2, 45, 60), 6, "minor", "slow", ("sad", "calm", "dark", "dreamy")),
        (loop(2, 2, 75, 60), 6, "major", "slow", ("calm", "bright", "dreamy")),
        (loop(2, 0.5, 75, 60), 6, "major", "slow", ("calm", "bright")),  # short notes
        (loop(0.25, 0.25, 60, 100), 12, "major", "fast", ("happy", "energetic")),
        (loop(0.25, 0.25, 75, 100), 8, "major", "", ("happy", "bright", "energetic")),
        (loop(0.25, 0.25, 60, 100), 8, "minor", "", ("energetic",)),
        (loop(0.5, 0.5, 60, 80), 8, "major", "", ("happy",)),
        (loop(0.5, 0.5, 60, 80), 8, "", "", ()),  # an unclear mode
        (loop(6, 6, 60, 80), 12, "major", "", ()),  # a fast tempo without fast notes
    ],
)
def test_words_follow_from_the_notes(
    notes: list[Note], beats: int, mode: str, tempo: str, moods: tuple[str, ...]
) -> None:
    facts = measure(notes, beats, mode, (40, 80))
    assert (facts.tempo, facts.moods) == (tempo, moods)
    assert facts.tempo_bpm == pytest.approx(beats * 60 / 5.12)
    if moods:
        assert moods[0] not in measure(notes, beats, mode, (40, 80), never=moods[:1]).moods


def test_chords_are_one_onset_and_drums_have_no_key() -> None:
    chord = [Note(0, 1, pitch, 80) for pitch in (60, 64, 67)]
    assert measure(chord, 8, "major", (40, 80)).onsets_per_s == pytest.approx(1 / 5.12)
    beat = measure([], 12, "major", (40, 80), loop(0.25, 0.25, 36, 110))
    assert (beat.tempo, beat.moods) == ("fast", ("energetic",))
