"""The engine: jobs share calls, and nobody notices but by the time it takes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.engine import Engine, RequestHandle
from riffusion.engine.engine import EngineStep
from riffusion.errors import GenerationCancelled, GenerationError, InputError
from riffusion.spectrogram.params import SpectrogramParams

MAX_GREY_LEVELS = 1
"""Rounding to 8 bits of float32 sums in another order."""
TIMEOUT_S = 60.0
SIZES = ((48, 48), (64, 48))
LONG_PROMPT = "piano and bells " * 60
"""More tokens than the text encoder reads at once."""


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=48)  # small, so quick
    return pipeline


@pytest.fixture
def ticks() -> list[EngineStep]:
    return []


@pytest.fixture
def engine(pipeline: RiffusionPipeline, ticks: list[EngineStep]) -> Iterator[Engine]:
    engine = Engine(pipeline, max_rows=6, max_num_running=8, on_step=ticks.append)
    yield engine
    engine.close()


def noise_image(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGE = noise_image(SIZES[0])


def request(steps: int = 4, **start: Any) -> InferenceInput:
    return InferenceInput.parse(
        {"start": {"prompt": "piano", "seed": 1} | start, "num_inference_steps": steps}
    )


def levels(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


def held(engine: Engine) -> threading.Event:
    """Keep the engine busy, so that what is submitted next joins in one tick; set it to go on."""
    release = threading.Event()
    began = threading.Event()

    def hold(done: int, total: int) -> None:
        began.set()
        release.wait(TIMEOUT_S)

    engine.submit(request(steps=1, denoising=1.0), IMAGE, on_progress=hold)
    assert began.wait(TIMEOUT_S)
    return release


@st.composite
def jobs(
    draw: st.DrawFn,
) -> tuple[InferenceInput, Image.Image | None, Image.Image | None]:
    size = draw(st.sampled_from(SIZES))
    ends = {
        end: {
            "prompt": draw(st.sampled_from(["piano", "(bells:1.5)", "", LONG_PROMPT])),
            "seed": draw(st.integers(0, 9)),
            "negative_prompt": draw(st.sampled_from([None, "bells"])),
            "denoising": draw(st.sampled_from([0.0, 0.4, 0.75, 1.0])),
            "guidance": draw(st.sampled_from([0.0, 1.0, 4.0, 7.5])),
        }
        for end in ("start", "end")
    }
    inputs = InferenceInput.parse(
        ends
        | {
            "alpha": draw(st.sampled_from([0.0, 0.3, 1.0])),
            "num_inference_steps": draw(st.integers(1, 6)),
            "scheduler": draw(st.sampled_from(get_args(SchedulerName))),
            "guidance_interval": draw(st.sampled_from([(0.0, 1.0), (0.0, 0.5), (0.3, 0.8)])),
        }
    )
    if draw(st.booleans()):
        return inputs.model_copy(update={"mode": "txt2img", "duration_s": 0.48}), None, None
    mask = noise_image(size, seed=5) if draw(st.booleans()) else None
    return inputs, noise_image(size, seed=draw(st.integers(0, 2))), mask


@given(mix=st.lists(jobs(), min_size=2, max_size=5))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_job_does_not_depend_on_its_company(
    pipeline: RiffusionPipeline, engine: Engine, mix: list[Any]
) -> None:
    release = held(engine)
    tickets = [engine.submit(*job) for job in mix]
    release.set()
    together = [ticket.image.result(TIMEOUT_S) for ticket in tickets]
    for job, image in zip(mix, together, strict=True):
        assert levels(image, pipeline(*job).images[0]) <= MAX_GREY_LEVELS


def test_jobs_share_calls(engine: Engine, ticks: list[EngineStep]) -> None:
    release = held(engine)
    tickets = [engine.submit(request(steps=4, seed=s, denoising=1.0), IMAGE) for s in range(3)]
    release.set()
    for ticket in tickets:
        ticket.image.result(TIMEOUT_S)
    shared = [tick for tick in ticks if tick.num_jobs == 3]
    assert len(shared) == 4
    assert {tick.num_rows for tick in shared} == {6}


def test_a_short_job_is_not_stuck_behind_long_ones(engine: Engine, ticks: list[EngineStep]) -> None:
    """Six rows a call hold three of these jobs, so four jobs take turns."""
    long = [engine.submit(request(steps=150, seed=s), IMAGE) for s in range(3)]
    while not any(tick.num_jobs == 3 for tick in ticks):
        time.sleep(0.001)
    before = len(ticks)
    short = engine.submit(request(steps=4, denoising=1.0), IMAGE)
    short.image.result(TIMEOUT_S)
    assert len(ticks) - before <= 3 * 4
    assert not any(ticket.image.done() for ticket in long)
    for ticket in long:
        ticket.cancel()


def test_sizes_take_turns(engine: Engine, ticks: list[EngineStep]) -> None:
    release = held(engine)
    done_at: dict[int, list[int]] = {0: [], 1: []}
    tickets = []
    for kind, size in enumerate(SIZES):
        note = done_at[kind]
        tickets.append(
            engine.submit(
                request(steps=5, denoising=1.0),
                noise_image(size),
                on_progress=lambda done, total, note=note: note.append(len(ticks)),
            )
        )
    release.set()
    for ticket in tickets:
        ticket.image.result(TIMEOUT_S)
    merged = sorted([(at, 0) for at in done_at[0]] + [(at, 1) for at in done_at[1]])
    assert [kind for _, kind in merged] == [0, 1] * 5


def test_cancelling_frees_the_place_within_a_step(engine: Engine, ticks: list[EngineStep]) -> None:
    steps_at_cancel: list[int] = []
    ticket: RequestHandle | None = None
    submitted = threading.Event()

    def stop(done: int, total: int) -> None:
        submitted.wait(TIMEOUT_S)
        assert ticket is not None
        steps_at_cancel.append(done)
        ticket.cancel()

    ticket = engine.submit(request(steps=100), IMAGE, on_progress=stop)
    submitted.set()
    with pytest.raises(GenerationCancelled):
        ticket.image.result(TIMEOUT_S)
    assert steps_at_cancel == [1]


def test_a_job_that_waits_can_be_cancelled(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline, max_num_running=1)
    release = held(engine)
    waiting = engine.submit(request(), IMAGE)
    waiting.cancel()
    release.set()
    with pytest.raises(GenerationCancelled):
        waiting.image.result(TIMEOUT_S)
    assert "prepare" not in waiting.stages_s
    engine.close()


def test_a_call_that_is_too_large_is_tried_in_halves(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward

    def small_device(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        if len(rows) > 2:
            raise RuntimeError("too large a call")
        return call(rows, *args, **options)

    expected = pipeline(request(), IMAGE).images[0]
    monkeypatch.setattr(pipeline.unet, "forward", small_device)
    release = held(engine)
    tickets = [engine.submit(request(), IMAGE) for _ in range(3)]
    release.set()
    for ticket in tickets:
        assert levels(ticket.image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS


def test_a_job_that_breaks_the_model_fails_alone(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings of one prompt make the UNet raise, those of another make it return NaN."""
    call = pipeline.unet.forward
    raising, poisonous = (pipeline.embed_text(text) for text in ("drums", "bells"))

    def fragile(rows: torch.Tensor, steps: Any, encoder_hidden_states: Any, **others: Any) -> Any:
        if any(torch.equal(row, raising[0]) for row in encoder_hidden_states):
            raise RuntimeError("device-side assert")
        (output,) = call(rows, steps, encoder_hidden_states=encoder_hidden_states, **others)
        for index, row in enumerate(encoder_hidden_states):
            if torch.equal(row, poisonous[0]):
                output[index] = float("nan")
        return (output,)

    expected = pipeline(request(), IMAGE).images[0]
    monkeypatch.setattr(pipeline.unet, "forward", fragile)
    release = held(engine)
    good, broken, nan = (
        engine.submit(request(prompt=p), IMAGE) for p in ("piano", "drums", "bells")
    )
    release.set()
    assert levels(good.image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS
    with pytest.raises(GenerationError, match="device-side assert"):
        broken.image.result(TIMEOUT_S)
    with pytest.raises(GenerationError, match="not finite after .* steps in torch.float32"):
        nan.image.result(TIMEOUT_S)
    assert (
        levels(engine.submit(request(), IMAGE).image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS
    )


def test_a_guidance_that_breaks_numbers_is_the_request_s_fault(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward
    monkeypatch.setattr(
        pipeline.unet, "forward", lambda *args, **options: (call(*args, **options)[0] * torch.nan,)
    )
    with pytest.raises(InputError, match="not finite .* lower guidance=30") as caught:
        engine.submit(request(guidance=30.0), IMAGE).image.result(TIMEOUT_S)
    assert caught.value.field == "start.guidance"


def test_an_observer_that_fails_harms_nobody(pipeline: RiffusionPipeline) -> None:
    def on_step(tick: EngineStep) -> None:
        raise RuntimeError("observer")

    engine = Engine(pipeline, on_step=on_step)
    engine.submit(request(steps=2), IMAGE).image.result(TIMEOUT_S)
    engine.close()


@pytest.mark.parametrize("failure", [RuntimeError("callback"), SystemExit(3)])
def test_a_callback_that_fails_ends_its_own_job_alone(
    engine: Engine, failure: BaseException
) -> None:
    def fail(done: int, total: int) -> None:
        raise failure

    release = held(engine)
    bad = engine.submit(request(), IMAGE, on_progress=fail)
    good = engine.submit(request(), IMAGE)
    release.set()
    with pytest.raises(type(failure)):
        bad.image.result(TIMEOUT_S)
    good.image.result(TIMEOUT_S)


def test_memory_that_ran_out_is_not_asked_for_again(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward
    num_refused = 0

    def small_device(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        nonlocal num_refused
        if len(rows) > 4:
            num_refused += 1
            raise torch.OutOfMemoryError("out of memory")
        return call(rows, *args, **options)

    monkeypatch.setattr(pipeline.unet, "forward", small_device)
    release = held(engine)
    tickets = [engine.submit(request(steps=10, denoising=1.0), IMAGE) for _ in range(3)]
    release.set()
    for ticket in tickets:
        ticket.image.result(TIMEOUT_S)
    assert num_refused == 1


def test_the_image_cannot_be_cancelled_behind_the_engine_s_back(engine: Engine) -> None:
    release = held(engine)
    ticket = engine.submit(request(), IMAGE)
    assert not ticket.image.cancel()
    ticket.cancel()
    release.set()
    with pytest.raises(GenerationCancelled):
        ticket.image.result(TIMEOUT_S)


def test_nothing_is_repainted_at_denoising_0(engine: Engine) -> None:
    ticket = engine.submit(request(denoising=0.0), IMAGE)
    assert ticket.image.result(TIMEOUT_S).size == IMAGE.size
    assert "decode" in ticket.stages_s


def test_a_closed_engine_takes_nothing(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    engine.close()
    engine.close()
    with pytest.raises(GenerationError, match="closed"):
        engine.submit(request(), IMAGE)


def test_closing_finishes_what_was_submitted(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    tickets = [engine.submit(request(steps=2, seed=s), IMAGE) for s in range(3)]
    engine.close()
    assert all(ticket.image.done() for ticket in tickets)


def test_the_wait_is_the_time_that_the_shortest_job_takes_in_company(
    engine: Engine,
) -> None:
    assert engine.seconds_until_an_image_is_done() == 0
    first = engine.submit(request(steps=150, denoising=1.0), IMAGE)
    while "prepare" not in first.stages_s:
        time.sleep(0.001)
    time.sleep(0.3)
    started = time.perf_counter()
    expected = engine.seconds_until_an_image_is_done()
    first.image.result(TIMEOUT_S)
    actual = time.perf_counter() - started
    assert 0.2 * actual < expected < 5 * actual
