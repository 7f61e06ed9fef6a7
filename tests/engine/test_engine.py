"""The engine: jobs share calls, and sharing changes nothing about their images."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from threadpoolctl import ThreadpoolController

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.pipeline import DECODE_SIZES
from riffusion.engine import Engine, RequestHandle
from riffusion.engine.engine import EngineStep
from riffusion.errors import ClipMemoryError, GenerationCancelled, GenerationError, InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.patience import PATIENCE_S
from tests.runtime import emulated_graphs

MAX_GREY_LEVELS = 1
"""Rounding to 8 bits of float32 sums in another order."""
TIMEOUT_S = PATIENCE_S
SIZES = ((48, 48), (64, 48))
LONG_PROMPT = "piano and bells " * 60
"""More tokens than the text encoder reads in one chunk."""


@pytest.fixture(scope="module")
def pipeline(pristine: Path) -> RiffusionPipeline:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = SpectrogramParams(num_frequencies=48)  # small, so quick
    return pipeline


@pytest.fixture
def steps() -> list[EngineStep]:
    return []


@pytest.fixture
def engine(pipeline: RiffusionPipeline, steps: list[EngineStep]) -> Iterator[Engine]:
    engine = Engine(pipeline, max_rows=6, max_num_running=8, on_step=steps.append)
    yield engine
    engine.close()


def noise_image(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGE = noise_image(SIZES[0])


def request(steps: int = 4, scheduler: SchedulerName | None = None, **start: Any) -> InferenceInput:
    return InferenceInput.parse(
        {
            "start": {"prompt": "piano", "seed": 1} | start,
            "num_inference_steps": steps,
            "scheduler": scheduler,
        }
    )


def levels(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).max())


def blocked(engine: Engine) -> threading.Event:
    """Block the engine inside a step, until the event is set: what is submitted joins together."""
    release = threading.Event()
    began = threading.Event()

    def block(done: int, total: int) -> None:
        began.set()
        release.wait(TIMEOUT_S)

    engine.submit(request(steps=1, denoising=1.0), IMAGE, on_progress=block)
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
def test_an_image_does_not_depend_on_the_jobs_batched_with_it(
    pipeline: RiffusionPipeline, engine: Engine, mix: list[Any]
) -> None:
    release = blocked(engine)
    handles = [engine.submit(*job) for job in mix]
    release.set()
    together = [handle.image.result(TIMEOUT_S) for handle in handles]
    for job, image in zip(mix, together, strict=True):
        assert levels(image, pipeline(*job).images[0]) <= MAX_GREY_LEVELS


def test_jobs_share_calls(engine: Engine, steps: list[EngineStep]) -> None:
    release = blocked(engine)
    handles = [engine.submit(request(steps=4, seed=s, denoising=1.0), IMAGE) for s in range(3)]
    release.set()
    for handle in handles:
        handle.image.result(TIMEOUT_S)
    shared = [step for step in steps if step.num_jobs == 3]
    assert len(shared) == 4
    assert {step.num_rows for step in shared} == {6}


def test_a_short_job_does_not_wait_for_long_ones(engine: Engine, steps: list[EngineStep]) -> None:
    """A call of six rows holds three of these jobs, so four jobs take turns."""
    short: list[RequestHandle] = []
    steps_at: list[int] = []  # when the short job was submitted, and after each of its steps
    long_done: list[bool] = []

    def submit_short(done: int, total: int) -> None:
        if not short and steps[-1].num_jobs == 3:
            steps_at.append(len(steps))
            short.append(engine.submit(request(steps=4, denoising=1.0), IMAGE, on_progress=watch))
            submitted.set()

    def watch(done: int, total: int) -> None:
        steps_at.append(len(steps))
        long_done.extend(handle.image.done() for handle in long)

    submitted = threading.Event()
    release = blocked(engine)
    long = [
        engine.submit(request(steps=150, seed=s), IMAGE, on_progress=submit_short) for s in range(3)
    ]
    release.set()
    assert submitted.wait(TIMEOUT_S)
    short[0].image.result(TIMEOUT_S)
    assert len(steps_at) == 1 + 4
    assert steps_at[-1] - steps_at[0] <= 3 * 4
    assert not any(long_done)
    for handle in long:
        handle.cancel()


def test_image_sizes_take_turns(engine: Engine, steps: list[EngineStep]) -> None:
    release = blocked(engine)
    done_at: dict[int, list[int]] = {0: [], 1: []}
    handles = []
    for kind, size in enumerate(SIZES):
        record = done_at[kind]
        handles.append(
            engine.submit(
                request(steps=5, denoising=1.0),
                noise_image(size),
                on_progress=lambda done, total, record=record: record.append(len(steps)),
            )
        )
    release.set()
    for handle in handles:
        handle.image.result(TIMEOUT_S)
    merged = sorted([(at, 0) for at in done_at[0]] + [(at, 1) for at in done_at[1]])
    assert [kind for _, kind in merged] == [0, 1] * 5


def test_cancelling_frees_the_slot_within_a_step(engine: Engine, steps: list[EngineStep]) -> None:
    steps_at_cancel: list[int] = []
    handle: RequestHandle | None = None
    submitted = threading.Event()

    def stop(done: int, total: int) -> None:
        submitted.wait(TIMEOUT_S)
        assert handle is not None
        steps_at_cancel.append(done)
        handle.cancel()

    handle = engine.submit(request(steps=100), IMAGE, on_progress=stop)
    submitted.set()
    with pytest.raises(GenerationCancelled):
        handle.image.result(TIMEOUT_S)
    engine.submit(request(steps=1, scheduler="ddim", denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    assert steps_at_cancel == [1]
    assert [step.num_jobs for step in steps] == [1, 1]  # the second step is the other request's


def test_a_waiting_request_can_be_cancelled(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline, max_num_running=1)
    release = blocked(engine)
    waiting = engine.submit(request(), IMAGE)
    waiting.cancel()
    release.set()
    with pytest.raises(GenerationCancelled):
        waiting.image.result(TIMEOUT_S)
    assert "prepare" not in waiting.stages_s
    engine.close()


def test_a_call_that_fails_is_repeated_in_halves(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward

    def small_device(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        if len(rows) > 2:
            raise RuntimeError("too large a call")
        return call(rows, *args, **options)

    expected = pipeline(request(), IMAGE).images[0]
    monkeypatch.setattr(pipeline.unet, "forward", small_device)
    release = blocked(engine)
    handles = [engine.submit(request(), IMAGE) for _ in range(3)]
    release.set()
    for handle in handles:
        assert levels(handle.image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS


def test_a_job_that_breaks_the_model_fails_without_the_others(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One prompt's embeddings make the UNet raise, another's make it return NaN."""
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
    release = blocked(engine)
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


def test_latents_that_are_not_finite_at_high_guidance_are_an_input_error(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward
    monkeypatch.setattr(
        pipeline.unet, "forward", lambda *args, **options: (call(*args, **options)[0] * torch.nan,)
    )
    with pytest.raises(InputError, match="not finite .* lower guidance=30") as caught:
        engine.submit(request(guidance=30.0), IMAGE).image.result(TIMEOUT_S)
    assert caught.value.field == "start.guidance"


def test_an_error_in_on_step_is_ignored(pipeline: RiffusionPipeline) -> None:
    def on_step(step: EngineStep) -> None:
        raise RuntimeError("observer")

    engine = Engine(pipeline, on_step=on_step)
    engine.submit(request(steps=2), IMAGE).image.result(TIMEOUT_S)
    engine.close()


@pytest.mark.parametrize("failure", [RuntimeError("callback"), SystemExit(3)])
def test_an_error_in_on_progress_fails_only_its_own_request(
    engine: Engine, failure: BaseException
) -> None:
    def fail(done: int, total: int) -> None:
        raise failure

    release = blocked(engine)
    bad = engine.submit(request(), IMAGE, on_progress=fail)
    good = engine.submit(request(), IMAGE)
    release.set()
    with pytest.raises(type(failure)):
        bad.image.result(TIMEOUT_S)
    good.image.result(TIMEOUT_S)


def test_a_batch_size_that_ran_out_of_memory_is_not_tried_again(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = pipeline.unet.forward
    num_refused = 0
    emptied: list[int] = []

    def small_device(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        nonlocal num_refused
        if len(rows) > 4:
            num_refused += 1
            raise torch.OutOfMemoryError("out of memory")
        return call(rows, *args, **options)

    expected = pipeline(request(denoising=1.0), IMAGE).images[0]
    monkeypatch.setattr(pipeline.unet, "forward", small_device)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(num_refused))
    release = blocked(engine)
    handles = [engine.submit(request(denoising=1.0), IMAGE) for _ in range(3)]
    release.set()
    for handle in handles:
        assert levels(handle.image.result(TIMEOUT_S), expected) <= MAX_GREY_LEVELS
    assert num_refused == 1
    assert emptied == [1]  # before the halves are tried


def test_on_cuda_a_step_includes_the_work_of_the_gpu(
    engine: Engine,
    steps: list[EngineStep],
    pipeline: RiffusionPipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA calls return before the GPU is done, so each step waits for the stream."""
    cuda = emulated_graphs.install(monkeypatch)
    monkeypatch.setattr(type(pipeline), "device", torch.device("cuda"))
    engine.submit(request(steps=4, denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    assert cuda.num_waits == len(steps) > 0


def test_a_bug_in_the_engine_fails_the_running_requests_and_the_loop_continues(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "relative_length", lambda shape: 1 / 0)
        handles = [engine.submit(request(), IMAGE) for _ in range(2)]
        for handle in handles:
            with pytest.raises(GenerationError, match="the model failed on this clip: division"):
                handle.image.result(TIMEOUT_S)
    assert engine.submit(request(), IMAGE).image.result(TIMEOUT_S).size == IMAGE.size


def test_only_the_handle_can_cancel_not_the_future(engine: Engine) -> None:
    release = blocked(engine)
    handle = engine.submit(request(), IMAGE)
    assert not handle.image.cancel()
    handle.cancel()
    release.set()
    with pytest.raises(GenerationCancelled):
        handle.image.result(TIMEOUT_S)


def test_denoising_0_passes_the_image_through_the_vae_only(
    engine: Engine, pipeline: RiffusionPipeline, steps: list[EngineStep]
) -> None:
    handle = engine.submit(request(scheduler="ddim", denoising=0.0), IMAGE)
    image = handle.image.result(TIMEOUT_S)
    assert steps == []
    assert handle.stages_s.keys() == {"waiting", "prepare", "diffusion", "decode"}
    pixels = torch.from_numpy(np.asarray(IMAGE, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)
    with torch.inference_mode():
        posterior = pipeline.vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(1))
        decoded = pipeline.vae.decode(posterior.mean + posterior.std * noise).sample[0]
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert levels(image, Image.fromarray(expected)) <= MAX_GREY_LEVELS


def test_a_closed_engine_refuses_requests(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    engine.close()
    engine.close()
    with pytest.raises(GenerationError, match="closed"):
        engine.submit(request(), IMAGE)


def test_closing_completes_submitted_requests(pipeline: RiffusionPipeline) -> None:
    engine = Engine(pipeline)
    handles = [engine.submit(request(steps=2, seed=s), IMAGE) for s in range(3)]
    engine.close()
    assert all(handle.image.done() for handle in handles)


def test_the_estimate_is_the_time_until_the_shortest_job_is_done(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that advances by a second per row of the UNet's calls, it is exact."""
    now_s = 0.0
    call = pipeline.unet.forward

    def timed(rows: torch.Tensor, *args: Any, **options: Any) -> Any:
        nonlocal now_s
        now_s += len(rows)
        return call(rows, *args, **options)

    estimates: list[float] = []  # clock time at which the first image will be done
    monkeypatch.setattr(pipeline.unet, "forward", timed)
    engine = Engine(
        pipeline,
        on_step=lambda _: estimates.append(now_s + engine.seconds_until_an_image_is_done()),
        clock=lambda: now_s,
    )
    assert engine.seconds_until_an_image_is_done() == 0
    release = blocked(engine)
    long, short = (
        engine.submit(request(steps=steps, scheduler="ddim", denoising=1.0), IMAGE)
        for steps in (6, 3)
    )
    release.set()
    for handle in (short, long):
        handle.image.result(TIMEOUT_S)
    engine.close()
    assert engine.seconds_until_an_image_is_done() == 0
    # A step of both jobs has four rows and the short job ends after three; two rows are the
    # blocking job's. The long job is alone for its last three steps.
    short_s, long_s = 2 + 3 * 4, 2 + 3 * 4 + 3 * 2
    assert estimates[1:] == pytest.approx([short_s, short_s, long_s, long_s, long_s, long_s])


def test_a_decoding_that_runs_out_of_memory_leaves_the_limit_of_the_unet(
    engine: Engine,
    pipeline: RiffusionPipeline,
    steps: list[EngineStep],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = pipeline.vae.decode
    decoded: list[int] = []

    def small_device(latents: torch.Tensor, **options: Any) -> Any:
        decoded.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return decode(latents, **options)

    monkeypatch.setattr(pipeline.vae, "decode", small_device)
    for _ in range(2):
        release = blocked(engine)
        steps.clear()
        decoded.clear()
        handles = [engine.submit(request(denoising=1.0), IMAGE) for _ in range(3)]
        release.set()
        for handle in handles:
            handle.image.result(TIMEOUT_S)
        assert max(step.num_jobs for step in steps) == 3
    assert max(decoded) == 1  # the second time, three at once are not tried again


def test_on_cuda_at_most_four_images_are_decoded_together(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated_graphs.install(monkeypatch)
    monkeypatch.setattr(type(pipeline), "device", torch.device("cuda"))
    engine = Engine(pipeline)
    decode = pipeline.vae.decode
    decoded: list[int] = []

    def counted(latents: torch.Tensor, **options: Any) -> Any:
        decoded.append(len(latents))
        return decode(latents, **options)

    monkeypatch.setattr(pipeline.vae, "decode", counted)
    release = blocked(engine)
    handles = [engine.submit(request(steps=2, denoising=1.0), IMAGE) for _ in range(7)]
    release.set()
    for handle in handles:
        handle.image.result(TIMEOUT_S)
    engine.close()
    assert max(decoded) == max(DECODE_SIZES) == 4
    assert sum(decoded) == 8


def test_the_engine_warms_up_in_its_own_thread(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    monkeypatch.setattr(
        pipeline, "warm_up", lambda: threads.append(threading.current_thread().name)
    )
    engine.warm_up()
    monkeypatch.setattr(pipeline, "warm_up", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.warm_up()
    engine.submit(request(steps=1), IMAGE).image.result(TIMEOUT_S)
    assert threads == ["engine"]


@pytest.mark.parametrize("is_cuda", [False, True])
def test_beside_a_gpu_the_engine_has_no_openmp_team(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, is_cuda: bool
) -> None:
    sizes: list[int] = []

    def look() -> None:
        libraries = ThreadpoolController().select(user_api="openmp").info()
        sizes.extend(library["num_threads"] for library in libraries)

    monkeypatch.setattr(pipeline, "warm_up", look)
    if is_cuda:
        monkeypatch.setattr(type(pipeline), "device", torch.device("cuda"))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        engine = Engine(pipeline)
        engine.warm_up()
        engine.close()
    finally:
        torch.set_num_threads(before)
    assert sizes
    assert all(size == 1 for size in sizes) == is_cuda


@pytest.mark.parametrize("stage", ["prepare", "predict", "decode"])
def test_an_engine_that_hangs_is_unhealthy(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    now_s = 0.0
    began, release = threading.Event(), threading.Event()
    call = getattr(pipeline, stage)

    def held(*args: Any) -> Any:
        began.set()
        release.wait(TIMEOUT_S)
        return call(*args)

    engine = Engine(pipeline, clock=lambda: now_s)
    engine.submit(request(steps=1, denoising=1.0), IMAGE).image.result(TIMEOUT_S)
    now_s += 1e6
    assert engine.is_healthy  # it is idle
    monkeypatch.setattr(pipeline, stage, held)
    handle = engine.submit(request(steps=1, denoising=1.0), IMAGE)
    assert began.wait(TIMEOUT_S)
    assert engine.is_healthy
    now_s += 1e6
    assert not engine.is_healthy
    release.set()
    handle.image.result(TIMEOUT_S)
    assert engine.is_healthy
    engine.close()


@pytest.mark.parametrize("death", [SystemExit(3), KeyboardInterrupt()])
def test_an_engine_whose_thread_dies_fails_its_requests_and_is_unhealthy(
    pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch, death: BaseException
) -> None:
    engine = Engine(pipeline, max_num_running=1)
    release = blocked(engine)

    def die(*_: Any) -> Any:
        raise death

    monkeypatch.setattr(pipeline, "predict", die)
    handles = [engine.submit(request(), IMAGE) for _ in range(3)]
    assert engine.is_healthy
    release.set()
    for handle in handles:
        with pytest.raises(GenerationError, match=f"died of {type(death).__name__}; restart"):
            handle.image.result(TIMEOUT_S)
    assert not engine.is_healthy
    with pytest.raises(GenerationError, match="died"):
        engine.submit(request(), IMAGE)
    with pytest.raises(GenerationError, match="died"):
        engine.warm_up()
    engine.close()


def test_a_clip_longer_than_usual_that_memory_runs_out_for_names_its_length(
    engine: Engine, pipeline: RiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(pipeline.unet, "forward", run_out)
    long = request().model_copy(update={"mode": "txt2img", "duration_s": 10.24})
    with pytest.raises(ClipMemoryError, match="of 2.0 times the usual length; request a shorter"):
        engine.submit(long).image.result(TIMEOUT_S)
    with pytest.raises(GenerationError, match="the model failed on this clip") as caught:
        engine.submit(request(), IMAGE).image.result(TIMEOUT_S)
    assert not isinstance(caught.value, ClipMemoryError)
