"""Clips as notes: they depend only on seed, sound, split and index, and are on the grid."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import pytest

from corpora.general_midi import scores as scores_module
from corpora.general_midi.composition import BEATS, Clip, compose
from corpora.general_midi.notes import DRUM_BANK, Note
from corpora.general_midi.scores import load_scores, mode_of, parse_scores
from corpora.general_midi.sounds import SOUNDS
from riffusion.datasets.folder import SPLITS
from riffusion.errors import InputError
from tests.corpora.scores import SCORES, score

NUM_CLIPS = 40
"""Clips per sound."""
GRID_TOLERANCE_BEATS = 1e-9
HUMAN_DELAY_BEATS = 0.26
"""Maximum delay of strummed, grace and swung notes after the grid of sixteenths."""
OVERLAP_BEATS = 1 / 12 + 1e-9
"""A swung note starts a sixth of a beat late and ends half as much late, legato."""

TUNE = """X:1
T:A scale
M:4/4
L:1/4
K:C
CDEF|GABc|c2G2|[CEG]4|
"""


def signature(clip: Clip) -> tuple[object, ...]:
    return tuple(getattr(clip, f.name) for f in dataclasses.fields(clip) if f.name != "sound")


@pytest.mark.parametrize("label", SOUNDS)
def test_every_clip_can_be_played(label: str) -> None:
    sound = SOUNDS[label]
    clips = [compose(sound, split, i, 0) for split in SPLITS for i in range(NUM_CLIPS // 2)]
    assert clips[0].facts == compose(sound, "train", 0, 0).facts
    assert len({signature(clip) for clip in clips}) == len(clips)
    for clip in clips:
        assert clip.beats in BEATS
        assert clip.style in sound.styles
        assert clip.source == "patterns"
        assert (clip.mode == "") == (sound.kind == "beat")
        assert 1 <= len(clip.parts) <= 15
        assert clip.facts.onsets_per_s > 0
        for part in clip.parts:
            for note in part.notes:
                assert 0 <= note.start_beats < clip.beats
                assert 0 < note.duration_beats <= clip.beats + 1
                assert 0 < note.pitch < 128
                assert 1 <= note.velocity <= 127


def test_a_clip_depends_only_on_its_arguments() -> None:
    flute = SOUNDS["flute"]
    assert signature(compose(flute, "train", 3, 0)) == signature(compose(flute, "train", 3, 0))
    others = [
        compose(flute, "train", 3, 1),
        compose(flute, "train", 4, 0),
        compose(flute, "validation", 3, 0),
        compose(SOUNDS["clarinet"], "train", 3, 0),
    ]
    notes = compose(flute, "train", 3, 0).parts[0].notes
    assert all(other.parts[0].notes != notes for other in others)


def test_eight_beats_are_half_of_the_clips() -> None:
    beats = Counter(compose(SOUNDS["piano"], "train", i, 0).beats for i in range(300))
    assert set(beats) == set(BEATS)
    assert beats[8] >= 150


def test_drums_hit_on_sixteenths_and_triplets() -> None:
    for label in ("rock drums", "techno beat", "latin percussion", "jazz drums"):
        for i in range(NUM_CLIPS):
            for note in compose(SOUNDS[label], "train", i, 0).parts[0].notes:
                twelfths = note.start_beats * 12
                assert twelfths == pytest.approx(round(twelfths), abs=GRID_TOLERANCE_BEATS * 12)
                assert round(twelfths) % (4 if label == "jazz drums" else 3) == 0


def test_melodies_start_on_the_grid_or_a_little_late() -> None:
    for label in ("flute", "acoustic guitar", "piano", "trumpet", "folk duo"):
        for i in range(NUM_CLIPS):
            for part in compose(SOUNDS[label], "train", i, 0).parts:
                for note in part.notes:
                    late = note.start_beats - int(note.start_beats * 2) / 2
                    assert -GRID_TOLERANCE_BEATS <= late <= 0.25 + HUMAN_DELAY_BEATS


def test_solo_instruments_play_one_note_at_a_time() -> None:
    for label in ("flute", "clarinet", "saxophone"):
        for i in range(NUM_CLIPS):
            notes = sorted(compose(SOUNDS[label], "train", i, 0).parts[0].notes)
            for note, later in itertools.pairwise(notes):
                end = note.start_beats + note.duration_beats
                assert end <= later.start_beats + OVERLAP_BEATS, (label, i)


def test_instruments_have_distinct_ranges_and_durations() -> None:
    """Flutes are high, basses low and short, pads long: so they can be told apart."""

    def notes_of(label: str) -> list[Note]:
        clips = [compose(SOUNDS[label], "train", i, 0) for i in range(NUM_CLIPS)]
        return [note for clip in clips for part in clip.parts for note in part.notes]

    assert min(note.pitch for note in notes_of("flute")) >= 67
    assert max(note.pitch for note in notes_of("slap bass")) <= 28 + 19 + 24
    pads = [note.duration_beats for note in notes_of("ambient pad")]
    bass = [note.duration_beats for note in notes_of("slap bass")]
    assert sum(pads) / len(pads) > 2 > 0.5 >= max(bass)
    for label, sound in SOUNDS.items():
        if sound.kind == "beat":
            parts = compose(sound, "train", 0, 0).parts
            assert all(part.bank == DRUM_BANK for part in parts), label


def test_validation_uses_other_works() -> None:
    assert {s.split for s in SCORES} == set(SPLITS)
    work_split = {f"music21 corpus: {s.name}": s.split for s in SCORES}
    sources: Counter[str] = Counter()
    for split in SPLITS:
        for i in range(60):
            clip = compose(SOUNDS["violin"], split, i, 0, SCORES)
            sources[clip.source] += 1
            assert clip.source == "patterns" or work_split[clip.source] == split
    assert 0.5 < sources["patterns"] / sources.total() < 0.9


def test_excerpts_are_transposed_into_the_instruments_range() -> None:
    sound = SOUNDS["flute"]
    clips = [compose(sound, "train", i, 0, SCORES) for i in range(60)]
    excerpts = [clip for clip in clips if clip.source != "patterns"]
    assert len(excerpts) > 5
    for clip in excerpts:
        notes = clip.parts[0].notes
        assert all(sound.low <= note.pitch <= sound.high for note in notes)
        assert notes[0].start_beats == 0
        steps = {b.pitch - a.pitch for a, b in itertools.pairwise(notes)}
        assert steps <= {-2, -1, 1, 2}  # still a scale
        assert clip.style == "folk"


def test_a_window_of_a_score() -> None:
    work = score("a")
    assert work.windows(8, 1) == list(range(11))
    assert work.windows(8, 2) == list(range(9))
    (voice,) = work.window(1, 3, 1)
    assert [(n.start_beats, n.duration_beats, n.pitch) for n in voice] == [
        (0.0, 1.0, 67),
        (1.0, 1.0, 69),
        (2.0, 1.0, 71),
    ]
    (fast,) = work.window(0, 2, 2)
    assert [n.start_beats for n in fast] == [0.0, 0.5, 1.0, 1.5]


def test_mode_of_scales() -> None:
    def notes(pitches: list[int]) -> list[Note]:
        return [Note(i, 2 if i in (0, 4) else 1, pitch, 80) for i, pitch in enumerate(pitches)]

    assert mode_of(notes([60, 62, 64, 65, 67, 69, 71])) == "major"
    assert mode_of(notes([60, 62, 63, 65, 67, 68, 71])) == "minor"
    assert mode_of([Note(i, 1, 60 + i, 80) for i in range(12)]) == ""


@pytest.fixture
def corpus_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A music21 corpus with one tune, a broken one, and one in a format that isn't used."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import corpus
    folder = tmp_path / "ryansMammoth"
    folder.mkdir()
    (folder / "scale.abc").write_text(TUNE)
    (folder / "broken.abc").write_bytes(b"\xff\xfe\x00 nothing")
    (folder / "other.krn").write_text("**kern\n4c\n*-\n")
    monkeypatch.setattr(corpus, "getCorePaths", lambda: sorted(folder.iterdir()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_a_parsed_tune(corpus_files: Path) -> None:
    calls: list[tuple[int, int]] = []
    (tune,) = parse_scores({"tunes": 10}, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    assert (tune.name, tune.collection, tune.mode) == ("scale", "tunes", "major")
    assert tune.beat_quarters == 1
    assert tune.bars == (0, 4, 8, 12)
    assert tune.length == 16
    pitches = (60, 62, 64, 65, 67, 69, 71, 72)
    assert tune.voices[0][:8] == tuple((float(i), 1.0, p) for i, p in enumerate(pitches))
    assert tune.voices[0][8:] == (
        (8.0, 2.0, 72),
        (10.0, 2.0, 67),
        (12.0, 4.0, 60),
        (12.0, 4.0, 64),
        (12.0, 4.0, 67),
    )


def test_music_xml_replaces_humdrum(corpus_files: Path) -> None:
    """If both files of a work are selected, it is used once."""
    from music21 import converter

    converter.parseData(TUNE, format="abc").write("mxl", fp=corpus_files / "other.mxl")
    other, tune = parse_scores({"tunes": 10})
    assert (other.name, tune.name) == ("other", "scale")
    assert other.voices == tune.voices


def test_scores_are_parsed_once(corpus_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = load_scores()
    assert [work.name for work in parsed] == ["scale"]
    cache = scores_module.cache_path()
    cache.write_bytes(cache.read_bytes()[:40])  # damaged: parsed again, and rewritten
    assert load_scores() == parsed
    monkeypatch.setattr(scores_module, "parse_scores", lambda *_: pytest.fail("parsed again"))
    assert load_scores() == parsed


def test_a_cache_that_cannot_be_written(
    corpus_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(corpus_files / "scale.abc"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME .* or use --no-scores"):
        load_scores()


def test_music21_without_its_scores(corpus_files: Path) -> None:
    for path in corpus_files.glob("*.abc"):
        path.write_text("")
    with pytest.raises(InputError, match="without its scores"):
        load_scores()
