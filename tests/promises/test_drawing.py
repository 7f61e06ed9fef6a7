"""Draws that keep their promise or don't: of the tiny model, and of the embedded checkpoint."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from riffusion.audio import Audio, audio_from_segment, read_audio, segment_from_waveform
from riffusion.datatypes import InferenceInput
from riffusion.errors import InputError
from riffusion.generation.generator import Clip, ClipGenerator
from riffusion.generation.media import Media
from riffusion.generation.request_memory import one_at_a_time
from riffusion.loops.tempo import estimate_tempo
from riffusion.promises import drawing
from riffusion.promises.drawing import MAX_DRAWS, Draws, PromisedInput
from riffusion.promises.hearing import hear
from riffusion.promises.remarks import remarks
from riffusion.promises.response import output_from_promised
from tests.cli.conftest import Run, run
from tests.editing.signals import ROCK, drum_track, steady_beats

__all__ = ["run"]  # a fixture

RATE = 44_100
START = {"prompt": "piano", "seed": 11}


def inputs(**fields: object) -> InferenceInput:
    return InferenceInput.parse({"start": START, "num_inference_steps": 2, **fields})


def noise(generator: ClipGenerator, promised: PromisedInput, seed: int) -> Clip:
    """A clip without a beat and without a pitch, as if it had been drawn."""
    assert promised.promise is not None
    rng = np.random.default_rng(seed)
    waveform = 0.1 * rng.standard_normal((1, promised.promise.drawn_samples))
    params = generator.converter.p
    image = Image.new("RGB", (promised.promise.drawn_frames, params.num_frequencies))
    return Clip(image, Audio(waveform.astype(np.float32), RATE), params, {"audio": 1.0})


def test_a_clip_without_a_beat_is_drawn_again_with_other_seeds_and_nothing_is_claimed(
    generator: ClipGenerator,
) -> None:
    request = inputs(tempo_bpm=120.0)
    promised = drawing.resolve(generator, request)
    draws = Draws(promised)
    drawn = []
    made = None
    while made is None:
        drawn.append(draws.resolved.inputs.start)
        made = draws.add(generator, noise(generator, promised, len(drawn)))
    assert len(drawn) == made.num_draws == MAX_DRAWS
    assert len({start.seed for start in drawn}) == MAX_DRAWS
    assert all(0 <= start.seed < 2**63 for start in drawn)
    assert [start.denoising for start in drawn] == pytest.approx([0.75, 0.6, 0.48])
    assert made.clip.audio.num_samples == 4 * RATE
    answer = output_from_promised(made, request).model_dump()
    assert answer["tempo_error_percent"] is None
    assert answer["downbeats_s"] is None
    assert answer["remarks"] == remarks(made)
    assert answer["remarks"][0].startswith("tempo_bpm: no beat at 120 is heard in 3 draws (cert")


def test_the_best_draw_is_kept(generator: ClipGenerator) -> None:
    promised = drawing.resolve(generator, inputs(tempo_bpm=93.75, key="D minor"))
    draws = Draws(promised)
    assert draws.add(generator, noise(generator, promised, 1)) is None
    drums = drum_track(ROCK, steady_beats(93.75, 5.12), 5.12)  # the beat, but no key
    second = dataclasses.replace(noise(generator, promised, 2), audio=Audio(drums, RATE))
    assert draws.add(generator, second) is None
    made = draws.add(generator, noise(generator, promised, 3))
    assert made is not None
    assert made.num_draws == 3
    np.testing.assert_array_equal(made.clip.audio.waveform, drums)
    assert remarks(made) == ["key: none is heard in 3 draws, so D minor isn't certain"]


def test_the_next_draw_follows_from_the_request_and_keeps_a_given_denoising(
    generator: ClipGenerator,
) -> None:
    request = inputs(start={**START, "denoising": 0.9}, end=START | {"seed": 12}, beats=4)
    promised = drawing.resolve(generator, request)
    seeds = []
    for _ in range(2):
        draws = Draws(promised)
        assert draws.add(generator, noise(generator, promised, 1)) is None
        start, end = draws.resolved.inputs.start, draws.resolved.inputs.end
        assert (start.denoising, end.denoising) == (0.9, pytest.approx(0.6))
        seeds.append((start.seed, end.seed))
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], 11, 12}) == 4


def test_a_request_without_a_promise_gets_its_clip_untouched(generator: ClipGenerator) -> None:
    request = inputs(mode="txt2img", duration_s=0.16)
    promised = drawing.resolve(generator, request)
    clip = generator.generate(promised.resolved)
    made = Draws(promised).add(generator, clip)
    assert made is not None
    assert made.clip is clip
    assert set(output_from_promised(made, request).model_dump()) == {"image", "audio", "duration_s"}


def test_a_recording_to_start_from_is_heard_and_made_a_loop(generator: ClipGenerator) -> None:
    """Drums at 100 beats per minute become a loop of eight beats at the drawn tempo."""
    drums = drum_track(ROCK, steady_beats(100, 10), 10)
    media = Media(init_audio=segment_from_waveform(drums, RATE))
    promised = drawing.resolve(generator, inputs(tempo_bpm=110.0), media)
    assert promised.promise is not None
    assert promised.promise.drawn_bpm == pytest.approx(93.75)
    assert promised.duration_s == pytest.approx(8 * 60 / 110, abs=1e-4)
    assert promised.resolved.init_image is not None
    assert promised.resolved.init_image.size == (64, 48)


def test_a_recording_with_too_few_whole_beats_is_repeated(generator: ClipGenerator) -> None:
    """Its length would be eight beats, but the first one begins late, and the last one is cut."""
    drums = drum_track(ROCK, steady_beats(100, 10), 10)
    late = np.pad(drums[:, : round(4.5 * RATE)], ((0, 0), (round(0.3 * RATE), 0)))
    media = Media(init_audio=segment_from_waveform(late, RATE))
    promised = drawing.resolve(generator, inputs(tempo_bpm=110.0, beats=8), media)
    assert promised.duration_s == pytest.approx(8 * 60 / 110, abs=1e-4)


def test_long_loops_are_made_one_at_a_time(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute takes more than 1 GB for a moment, and a server resolves many requests at once."""
    large: list[bool] = []

    def recorded(is_large: bool) -> contextlib.AbstractContextManager[None]:
        large.append(is_large)
        return one_at_a_time(is_large)

    monkeypatch.setattr("riffusion.promises.seed_loop.one_at_a_time", recorded)
    drums = segment_from_waveform(drum_track(ROCK, steady_beats(100, 15), 15), RATE)
    drawing.resolve(generator, inputs(tempo_bpm=110.0), Media(init_audio=drums))
    assert large == [True, False]
    drawing.resolve(generator, inputs(tempo_bpm=110.0, beats=32))
    assert large == [True, False, True]


@pytest.mark.parametrize("waveform", [np.zeros((1, 3 * RATE)), np.ones((1, RATE)) * 0.1])
def test_a_recording_without_a_beat_is_refused(
    generator: ClipGenerator, waveform: npt.NDArray[np.float64]
) -> None:
    media = Media(init_audio=segment_from_waveform(waveform.astype(np.float32), RATE))
    with pytest.raises(InputError, match="^init_audio: .*start from audio with a beat, or from a"):
        drawing.resolve(generator, inputs(tempo_bpm=110.0), media)


def test_a_clip_of_the_embedded_checkpoint_has_the_tempo_and_the_key(
    tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "clip.wav"
    result = run(
        "generate", "jazz trio", "--tempo", 97, "--key", "D minor", "--seed", 3, "--steps", 6,
        "--device", "cpu", "-o", output,
    )  # fmt: skip
    assert result.code == 0, result.err
    audio = audio_from_segment(read_audio(output))
    assert audio.num_samples == round(8 * 60 / 97 * RATE)
    assert "tempo_error " in result.out
    heard = hear(audio, 97)
    assert heard.tempo_bpm == pytest.approx(97, rel=0.005)
    assert heard.key is not None
    assert heard.key.key.name in ("D minor", "F major")
    found = estimate_tempo(np.tile(audio.waveform, 2), RATE)
    octave = 2 ** np.round(np.log2(found / 97))
    assert found / octave == pytest.approx(97, rel=0.005)


def test_clips_of_a_jam_are_on_one_grid(tmp_path: Path, run: Run) -> None:
    output = tmp_path / "jam.wav"
    result = run(
        "jam", "techno beat", "-o", output, "--tempo", 128, "--minutes", 7.5 / 60, "--steps", 6,
        "--seed", 3, "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "jam         2 clips of 3.75 s" in result.out
    assert "tempo       128 bpm: a beat is heard in 2 of 2 clips; each is 3.75 s long" in result.out
    audio = audio_from_segment(read_audio(output))
    assert audio.num_samples == 2 * round(8 * 60 / 128 * RATE)
    heard = hear(audio, 128)
    assert heard.tempo_bpm == pytest.approx(128, rel=0.002)
    assert heard.tempo_certainty > 0.5
    beat_s = 60 / 128
    phases = np.array(heard.downbeats_s) / beat_s
    assert np.ptp((phases - phases[0] + 0.5) % 1) * beat_s < 0.02


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (("--tempo", 20), "--tempo"),
        (("--tempo", 120, "--duration", 4), "--duration"),
        (("--key", "H minor"), "--key"),
        (("--beats", 0), "--beats"),
        (("--beats", 200, "--tempo", 40), "--beats"),
    ],
)
def test_what_cannot_be_promised_is_refused_before_the_checkpoint_is_loaded(
    tmp_path: Path, run: Run, options: tuple[object, ...], option: str
) -> None:
    result = run("generate", "piano", "-o", tmp_path / "a.wav", *options)
    assert result.code == 2
    assert result.err.startswith(f"error: {option}: ")
    assert result.err.count("\n") == 1
    assert result.out == ""
