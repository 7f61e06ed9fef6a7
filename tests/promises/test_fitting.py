"""Clips of known tempo and key, as if they had been drawn, put right and heard."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from riffusion.audio import TRUE_PEAK_DBTP, Audio
from riffusion.audio.waveform import Waveform
from riffusion.datatypes import InferenceInput
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.loops.harmony import Key
from riffusion.loops.tempo import estimate_tempo
from riffusion.promises.drawing import PromisedClip
from riffusion.promises.fitting import FittedClip, fitted
from riffusion.promises.hearing import hear, is_in_key, is_in_tempo
from riffusion.promises.promise import Own, Promise, promise_in_beats
from riffusion.promises.remarks import remarks
from riffusion.spectrogram.params import SpectrogramParams
from tests.editing.signals import ROCK, chords, drum_track, steady_beats

RATE = 44_100
CLIP_S = 5.12
PARAMS = SpectrogramParams()
OWN = Own(93.75, 8)


def promise(tempo_bpm: float | None, beats: int | None = None, key: str | None = None) -> Promise:
    inputs = InferenceInput.parse(
        {"start": {"prompt": "", "seed": 0}, "tempo_bpm": tempo_bpm, "beats": beats, "key": key}
    )
    return promise_in_beats(inputs, PARAMS, OWN, tempo_bpm or OWN.tempo_bpm)


def fit(generator: ClipGenerator, waveform: Waveform, wanted: Promise) -> FittedClip:
    """What becomes of a waveform that was drawn."""
    clip = Clip(Image.new("RGB", (512, 512)), Audio(waveform, RATE), PARAMS, {"audio": 1.0})
    return fitted(generator, clip, wanted)


def lines(fit: FittedClip, wanted: Promise) -> list[str]:
    return remarks(PromisedClip(fit.clip, wanted, fit))


@pytest.mark.parametrize("drawn_bpm", [90.0, 93.75, 97.5])
def test_a_clip_that_was_drawn_off_its_tempo_is_put_on_the_grid(
    generator: ClipGenerator, drawn_bpm: float
) -> None:
    drums = drum_track(ROCK, steady_beats(drawn_bpm, CLIP_S), CLIP_S)
    wanted = promise(120)
    made = fit(generator, drums, wanted)
    audio = made.clip.audio
    assert audio.num_samples == round(8 * 60 / 120 * RATE)
    assert is_in_tempo(made.hearing, 120)
    assert estimate_tempo(np.tile(audio.waveform, 2), RATE) == pytest.approx(120, rel=0.005)
    assert made.hearing.downbeats_s[0] == pytest.approx(0, abs=0.02)
    assert np.diff(made.hearing.downbeats_s) == pytest.approx(2.0, abs=0.01)
    assert lines(made, wanted) == []
    assert made.clip.image.width == round(4 * RATE / generator.converter.p.hop_length)


def test_without_the_correction_such_a_clip_is_off() -> None:
    drums = drum_track(ROCK, steady_beats(90.0, CLIP_S), CLIP_S)
    heard = hear(Audio(drums, RATE), 93.75)
    assert heard.tempo_bpm == pytest.approx(90, rel=0.003)
    assert not is_in_tempo(heard, 93.75)


def test_a_clip_that_is_as_promised_keeps_its_samples(generator: ClipGenerator) -> None:
    drums = drum_track(ROCK, steady_beats(93.75, CLIP_S), CLIP_S)
    made = fit(generator, drums, promise(93.75))
    np.testing.assert_array_equal(made.clip.audio.waveform, drums)
    assert made.clip.image.size == (512, 512)  # its own


def test_a_few_beats_are_cut_out_of_more(generator: ClipGenerator) -> None:
    drums = drum_track(ROCK, steady_beats(93.75, CLIP_S), CLIP_S)
    wanted = promise(110, beats=2)
    made = fit(generator, drums, wanted)
    assert made.clip.audio.num_samples == round(2 * 60 / 110 * RATE)
    assert is_in_tempo(made.hearing, 110)  # heard in all eight beats that were drawn
    assert lines(made, wanted) == []


@pytest.mark.parametrize("beats", [1, 5, 8])
def test_a_clip_that_was_changed_does_not_exceed_full_scale(
    generator: ClipGenerator, beats: int
) -> None:
    """As any clip, it has the common loudness, and peaks below full scale."""
    drums = drum_track(ROCK, steady_beats(93.75, CLIP_S), CLIP_S)
    loud = np.clip(4 * drums / np.abs(drums).max(), -0.88, 0.88)
    made = fit(generator, loud, promise(97.0, beats))
    assert made.clip.audio.num_samples == round(beats * 60 / 97 * RATE)
    assert np.abs(made.clip.audio.waveform).max() <= 10 ** (TRUE_PEAK_DBTP / 20)


@pytest.mark.parametrize(("own", "semitones"), [("G minor", -5), ("E minor", -2), ("B minor", 3)])
def test_a_clip_in_another_key_is_moved(generator: ClipGenerator, own: str, semitones: int) -> None:
    notes = chords(
        Key.parse(own), (0, 3, 4, 0), steady_beats(93.75, CLIP_S), CLIP_S, beats_per_chord=2
    )
    wanted = promise(None, key="D minor")
    made = fit(generator, notes, wanted)
    assert made.semitones == semitones
    assert made.hearing.key is not None
    assert made.hearing.key.key == Key.parse("D minor")
    assert lines(made, wanted) == []


def test_the_relative_key_has_the_same_notes(generator: ClipGenerator) -> None:
    notes = chords(
        Key.parse("F major"), (0, 3, 4, 0), steady_beats(93.75, CLIP_S), CLIP_S, beats_per_chord=2
    )
    wanted = promise(None, key="D minor")
    made = fit(generator, notes, wanted)
    assert made.semitones == 0
    assert is_in_key(made.hearing, Key.parse("D minor"))
    (line,) = lines(made, wanted)
    assert line.startswith("key: F major is heard, with the notes of D minor (certainty ")


def pad(frequencies_hz: Sequence[float], seed: int) -> Waveform:
    """Tones that swell slowly, without an onset."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(CLIP_S * RATE)) / RATE
    tones = [
        (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * time))
        * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6))
        for hz in frequencies_hz
    ]
    noise = 0.02 * rng.standard_normal(time.size)
    return (0.1 * (np.sum(tones, axis=0) + noise)).astype(np.float32)[None]


def noise(seed: int) -> Waveform:
    samples = 0.1 * np.random.default_rng(seed).standard_normal((1, round(CLIP_S * RATE)))
    return samples.astype(np.float32)


@pytest.mark.parametrize(
    "waveform",
    [
        pad((220, 261.6, 329.6), 0),
        pad((220, 261.6, 329.6), 1),
        pad((146.8, 174.6, 220), 2),
        noise(0),
        noise(1),
        np.zeros((1, round(CLIP_S * RATE)), np.float32),
    ],
    ids=["pad", "another pad", "low pad", "noise", "other noise", "silence"],
)
@pytest.mark.parametrize("tempo_bpm", [93.75, 120])
def test_a_tempo_that_nobody_would_tap_is_not_claimed(
    generator: ClipGenerator, waveform: Waveform, tempo_bpm: float
) -> None:
    wanted = promise(tempo_bpm)
    made = fit(generator, waveform, wanted)
    assert made.clip.audio.num_samples == round(8 * 60 / tempo_bpm * RATE)
    assert PromisedClip(made.clip, wanted, made).tempo_error_percent is None
    (line,) = lines(made, wanted)
    assert line.startswith(f"tempo_bpm: no beat at {tempo_bpm:g} is heard (certainty ")


@pytest.mark.parametrize("own_bpm", [93.75, 187.5])
def test_a_sparse_beat_is_heard_at_twice_its_tempo_if_that_is_wanted(own_bpm: float) -> None:
    kicks = drum_track({"kick": "X..."}, steady_beats(own_bpm, CLIP_S), CLIP_S)
    assert is_in_tempo(hear(Audio(kicks, RATE), 187.5), 187.5)


def test_drums_have_no_key(generator: ClipGenerator) -> None:
    drums = drum_track(ROCK, steady_beats(93.75, CLIP_S), CLIP_S)
    wanted = promise(93.75, key="D minor")
    made = fit(generator, drums, wanted)
    assert lines(made, wanted) == ["key: none is heard, so D minor isn't certain"]
