"""Between and vary, with a tiny model: ends, amounts, lengths, and what is refused."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest
from diffusers import DDIMScheduler

from riffusion.audio import Recording
from riffusion.checkpoint.distillation import Distillation
from riffusion.datatypes import InferenceInput, LoraInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.loras import LoraLibrary
from riffusion.editing.own_noise import WholeClip, finished
from riffusion.editing.splicing import Part, spliced
from riffusion.editing.varying import Varied, between, vary
from riffusion.engine import Request
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, distilled_copy, write_folder
from tests.checkpoint.loras import tiny_lora, write_kohya
from tests.editing.recordings import noise_of, write

RATE = 22_050
DURATION_S = 1.0
SMALLEST = SpectrogramParams(
    num_frequencies=16, step_size_ms=160, window_duration_ms=400, padded_duration_ms=400
)
"""A clip is 32 frames of 16 bands, so that its many steps are quick."""
MAX_ERROR = 0.05
"""Share of the level: rounding of float32 sums in another order, carried through phases."""
MAX_LOUDNESS_ERROR_LU = 0.3
FULL_SCALE = 2**15


@pytest.fixture(scope="module")
def generator(pristine: Path) -> Iterator[ClipGenerator]:
    """A tiny model that predicts v, as the embedded one: then steps amplify no rounding errors."""
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    generator = ClipGenerator(_predicting_v(pipeline), SeedLibrary.default(None))
    yield generator
    generator.close()


def _predicting_v(pipeline: RiffusionPipeline) -> RiffusionPipeline:
    pipeline.spectrogram_params = SMALLEST
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    return pipeline


Signal = npt.NDArray[np.float64]


def request(steps: int = 5, seed: int = 1, end: str = "bells") -> InferenceInput:
    prompts = {"start": {"prompt": "piano", "seed": seed}, "end": {"prompt": end, "seed": seed}}
    return InferenceInput.parse(prompts | {"num_inference_steps": steps})


def clip(
    path: Path, seed: int = 0, count: int = 1, rate: int = RATE, duration_s: float = DURATION_S
) -> Path:
    samples = noise_of(16, count, round(duration_s * rate), seed).astype(np.int64) // 4
    return write(path, (samples >> 16 << 16).astype(np.int32), rate, 16)


def sound(recording: Recording, parts: list[Part]) -> Signal:
    return np.concatenate(list(spliced(recording, parts)), axis=1).astype(np.float64)


def sounds(recording: Recording, made: Varied) -> list[Signal]:
    return [sound(recording, parts) for parts in made.clips]


def difference(one: Signal, other: Signal) -> float:
    assert one.shape == other.shape
    return float(np.sqrt(np.mean((one - other) ** 2)) / np.sqrt(np.mean(one**2)))


def test_the_ends_are_the_recordings_as_they_come_back(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    paths = [clip(tmp_path / f"{seed}.wav", seed) for seed in range(2)]
    with Recording.open(paths[0]) as one, Recording.open(paths[1]) as other:
        made = between(one, other, generator, request(), 3)
        first, middle, last = sounds(one, made)
        own = vary(one, generator, request(), 0.0, 1)
        own_last = vary(other, generator, request().model_copy(update={"start": request().end}), 0)
        assert difference(first, sound(one, own.clips[0])) < MAX_ERROR
        assert difference(last, sound(other, own_last.clips[0])) < MAX_ERROR
    assert min(difference(middle, first), difference(middle, last)) > 0.1
    for found, expected in zip(
        made.closeness, [own.closeness[0], own_last.closeness[0]], strict=True
    ):
        assert found.image_error == pytest.approx(expected.image_error, rel=MAX_ERROR)


def test_the_amount_decides_how_far_a_variation_is(
    generator: ClipGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[Any]] = []

    def spied(*arguments: Any) -> Any:
        found.append(finished(*arguments))
        return found[-1]

    monkeypatch.setattr("riffusion.editing.varying.finished", spied)
    distances = []
    with Recording.open(clip(tmp_path / "in.wav", count=2)) as recording:
        for amount in (0.0, 0.1, 1.0):
            vary(recording, generator, request(), amount, 2)
            own, first, second = found[-1]
            distances.append(float(np.linalg.norm(first - own) / np.linalg.norm(own)))
            assert amount == 0 or float(np.linalg.norm(first - second) / np.linalg.norm(own)) > 0.01
    assert distances == sorted(distances)
    assert distances[0] < 1e-4 and distances[-1] > 2 * distances[1] > 0.1


def test_a_clip_comes_back_closer_with_more_steps(generator: ClipGenerator, tmp_path: Path) -> None:
    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        few, many = (
            vary(recording, generator, request(steps), 0.5, 1).closeness[0] for steps in (5, 15)
        )
        whole = WholeClip(recording, generator, 7)
        perfect = whole.closeness(whole.latents)
    assert many.latents_db > few.latents_db + 3
    assert perfect.image_error == perfect.autoencoder_error == many.autoencoder_error > 0
    assert abs(many.image_error - perfect.image_error) < abs(few.image_error - perfect.image_error)
    assert f"within {few.image_error:.2f} of 255 grey levels" in str(few)


def test_seeds_decide_and_follow_each_other(generator: ClipGenerator, tmp_path: Path) -> None:
    seeds = (2**63 - 1, 0)
    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        one, two = sounds(recording, vary(recording, generator, request(seed=seeds[0]), 0.5, 2))
        (again,) = sounds(recording, vary(recording, generator, request(seed=seeds[1]), 0.5, 1))
    assert difference(one, two) > 0.1
    assert difference(two, again) < MAX_ERROR


@pytest.mark.parametrize(
    ("durations", "rates", "counts"),
    [
        ((0.9, 5.5), (RATE, 32_000), (2, 1)),
        ((6.1, 5.4), (16_000, RATE), (1, 2)),
    ],
)
def test_clips_have_the_shorter_length_and_the_first_ones_format(
    generator: ClipGenerator,
    durations: tuple[float, float],
    rates: tuple[int, int],
    counts: tuple[int, int],
    tmp_path: Path,
) -> None:
    paths = [
        clip(tmp_path / f"{index}.wav", index, counts[index], rates[index], durations[index])
        for index in range(2)
    ]
    progress: list[tuple[int, int]] = []
    with Recording.open(paths[0]) as one, Recording.open(paths[1]) as other:
        made = between(one, other, generator, request(), 2, lambda *at: progress.append(at))
        for found in sounds(one, made):
            assert found.shape == (counts[0], round(min(durations) * rates[0]))
            assert found.std(axis=1).min() > 0
    assert [done for done, _ in progress] == list(range(1, progress[-1][1] + 1))
    assert len({total for _, total in progress}) == 1


def test_the_balance_of_the_channels_moves_with_the_clips(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    paths = []
    for quiet in range(2):
        samples = noise_of(16, 2, 3 * RATE, quiet).astype(np.int64) // 4
        samples[quiet] //= 10
        whole = (samples >> 16 << 16).astype(np.int32)
        paths.append(write(tmp_path / f"{quiet}.wav", whole, RATE, 16))
    with Recording.open(paths[0]) as one, Recording.open(paths[1]) as other:
        levels = [
            found.std(axis=1) for found in sounds(one, between(one, other, generator, request(), 3))
        ]
    assert levels[0][1] > 4 * levels[0][0]
    assert levels[1][0] == pytest.approx(levels[1][1], rel=0.2)
    assert levels[2][0] > 4 * levels[2][1]


def chord(path: Path, peak: float, rate: int = RATE, count: int = 1) -> Path:
    """Three decaying tones, again each half second."""
    t = np.arange(2 * rate) / rate
    tones = sum(np.sin(2 * np.pi * hz * t) for hz in (220.0, 277.2, 1320.0)) * np.exp(
        -6 * (t % 0.5)
    )
    whole = np.round(peak * tones / np.abs(tones).max() * (FULL_SCALE - 1)).astype(np.int64) << 16
    return write(path, np.repeat(whole[None], count, axis=0).astype(np.int32), rate, 16)


def lufs(found: Signal, rate: int = RATE) -> float:
    return float(pyloudnorm.Meter(rate).integrated_loudness(found.T / FULL_SCALE))


@pytest.mark.parametrize(("peak", "count"), [(1.0, 2), (0.02, 1)])
def test_a_recording_comes_back_and_varies_at_its_own_loudness(
    generator: ClipGenerator, peak: float, count: int, tmp_path: Path
) -> None:
    with Recording.open(chord(tmp_path / "in.wav", peak, count=count)) as recording:
        expected = lufs(recording.samples(0, recording.num_samples).astype(np.float64))
        for amount in (0.0, 0.5):
            (found,) = sounds(recording, vary(recording, generator, request(), amount, 1))
            assert lufs(found) == pytest.approx(expected, abs=MAX_LOUDNESS_ERROR_LU)
            assert np.abs(found).max() < FULL_SCALE - 1  # nothing clips


def test_loudness_moves_from_one_recording_to_the_other(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    one = Recording.open(chord(tmp_path / "one.wav", 0.5))
    other = Recording.open(chord(tmp_path / "other.wav", 0.05, 16_000))
    with one, other:
        made = [lufs(found) for found in sounds(one, between(one, other, generator, request(), 3))]
        ends = [
            lufs(each.samples(0, each.num_samples).astype(np.float64), each.sample_rate)
            for each in (one, other)
        ]
    assert ends[0] - ends[1] == pytest.approx(20, abs=0.5)
    expected = [ends[0], np.mean(ends), ends[1]]
    assert made == pytest.approx(expected, abs=MAX_LOUDNESS_ERROR_LU)


def test_a_way_from_silence_ends_at_the_other_recording_s_loudness(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros((1, 2 * RATE), np.int32), RATE, 16)
    loud = chord(tmp_path / "loud.wav", 0.5)
    with Recording.open(silent) as one, Recording.open(loud) as other:
        first, last = sounds(one, between(one, other, generator, request(), 2))
        expected = lufs(other.samples(0, other.num_samples).astype(np.float64))
    assert lufs(last) == pytest.approx(expected, abs=MAX_LOUDNESS_ERROR_LU)
    assert np.isfinite(first).all()


def test_silence_can_be_varied(generator: ClipGenerator, tmp_path: Path) -> None:
    silent = write(tmp_path / "in.wav", np.zeros((2, RATE), np.int32), RATE, 16)
    with Recording.open(silent) as recording:
        made = vary(recording, generator, request(), 0.2, 1)
        assert sound(recording, made.clips[0]).shape == (2, RATE)
        assert np.isfinite(made.closeness[0].image_error)


def test_a_cancelled_variation_ends(generator: ClipGenerator, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 4:
            raise GenerationCancelled("enough")

    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        with pytest.raises(GenerationCancelled):
            vary(recording, generator, request(), 0.2, 3, stop)
        vary(recording, generator, request(), 0.2, 1)


def test_variations_end_with_the_request_that_they_are_for(
    generator: ClipGenerator, tmp_path: Path
) -> None:
    left: Request[Any] = Request()
    left.cancel()
    steps: list[int] = []
    working = generator.working_for(left)
    path = clip(tmp_path / "in.wav")
    with Recording.open(path) as recording, pytest.raises(GenerationCancelled):
        vary(recording, working, request(), 0.2, 3, lambda *at: steps.append(at[0]))
    assert steps == []


def test_many_clips_leave_slots_for_others(
    generator: ClipGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator.engine, "max_num_running", 4)
    submit = generator.engine.submit_canvas
    submitted: list[Request[Any]] = []
    num_open: list[int] = []

    def spied(*arguments: Any) -> Any:
        submitted.append(submit(*arguments))
        num_open.append(sum(not each.outcome.done() for each in submitted))
        return submitted[-1]

    monkeypatch.setattr(generator.engine, "submit_canvas", spied)
    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        made = vary(recording, generator, request(), 0.5, 5)
        assert len({sound.tobytes() for sound in sounds(recording, made)}) == 5
    assert len(num_open) == 1 + 1 + 5  # to the noise, and back: the recording and its variations
    assert max(num_open) <= 2


def test_loras_change_the_way_there_and_back(
    model: TinyModel, generator: ClipGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = tiny_lora(model)
    library = LoraLibrary({"bells": write_kohya(lora, tmp_path / "lora")})
    merged = copy.deepcopy(model)
    lora.merge_into(merged, 0.7)
    folder = write_folder(merged, tmp_path / "merged")
    pipeline = _predicting_v(RiffusionPipeline.from_pretrained(folder, device="cpu"))
    other = ClipGenerator(pipeline, generator.library)
    monkeypatch.setattr(generator.pipeline, "loras", library)
    loras = (LoraInput(id="bells", weight=0.7),)
    with_lora = request().model_copy(update={"loras": loras})
    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        found, expected, plain = (
            sound(recording, vary(recording, each, inputs, 0.5, 1).clips[0])
            for each, inputs in (
                (generator, with_lora),
                (other, request()),
                (generator, request()),
            )
        )
        unknown = request().model_copy(update={"loras": (LoraInput(id="none"),)})
        with pytest.raises(InputError, match="loras: 'none'"):
            vary(recording, generator, unknown)
    other.close()
    assert difference(found, expected) < MAX_ERROR
    assert difference(found, plain) > 2 * MAX_ERROR


@pytest.mark.parametrize(
    ("amount", "count", "steps", "message"),
    [
        (-0.1, 1, 5, "amount: -0.1 must be from 0 to 1"),
        (1.1, 1, 5, "amount: 1.1 must be"),
        (float("nan"), 1, 5, "amount: nan must be"),
        (0.2, 0, 5, "count: 0 must be from 1 to 100"),
        (0.2, 101, 5, "count: 101 must be"),
        (0.2, 1, 1, "num_inference_steps: 1 must be from 5 to 150"),
        (0.2, 1, 4, "num_inference_steps: 4 must be"),
    ],
)
def test_variations_that_make_no_sense(
    generator: ClipGenerator, amount: float, count: int, steps: int, message: str, tmp_path: Path
) -> None:
    path = clip(tmp_path / "in.wav")
    with Recording.open(path) as recording, pytest.raises(InputError, match=message):
        vary(recording, generator, request(steps), amount, count)


def test_lengths_that_are_refused(generator: ClipGenerator, tmp_path: Path) -> None:
    paths = [
        clip(tmp_path / f"{duration_s}.wav", rate=2000, duration_s=duration_s)
        for duration_s in (0.05, 1.0, 59.9, 60.1)
    ]
    short, usual, long, longer = (Recording.open(path) for path in paths)
    with short, usual, long, longer:
        for pair in ((short, usual), (usual, short)):
            with pytest.raises(InputError, match="0.050 s, at least 0.5 s"):
                between(*pair, generator, request())
        with pytest.raises(InputError, match="0.050 s, at least 0.5 s"):
            vary(short, generator, request())
        with pytest.raises(InputError, match="60.100 s each, at most 60 s"):
            vary(longer, generator, request())
        with pytest.raises(InputError, match="num_clips: 11 clips of 59.90 s last longer than 600"):
            between(long, longer, generator, request(), 11)
        for number in (0, 1, 101):
            with pytest.raises(InputError, match=f"num_clips: {number} must be from 2 to 100"):
                between(usual, usual, generator, request(), number)
        with pytest.raises(InputError, match="end.prompt: .*prompt weight"):
            between(usual, usual, generator, request(end="(a:101)"))


def test_distilled_checkpoints_need_guided_sampling(
    model: TinyModel, generator: ClipGenerator, tmp_path: Path
) -> None:
    folder = write_folder(distilled_copy(model), tmp_path / "distilled")
    pipeline = _predicting_v(RiffusionPipeline.from_pretrained(folder, device="cpu"))
    distilled = ClipGenerator(pipeline, generator.library)
    with Recording.open(clip(tmp_path / "in.wav")) as recording:
        with pytest.raises(InputError, match="checkpoint: .*distilled without guided sampling"):
            vary(recording, distilled, request(), 0.2, 1)
        pipeline._distillation = Distillation(4, (1.0, 8.0), guided_sampling=True)
        (found,) = sounds(recording, vary(recording, distilled, request(), 0.2, 1))
        (expected,) = sounds(recording, vary(recording, generator, request(), 0.2, 1))
    distilled.close()
    assert difference(found, expected) < MAX_ERROR
