"""Steps of the engine: jobs share calls, and sharing changes nothing about their images."""

import threading
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from riffusion.datatypes import InferenceInput, SchedulerName
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.pipeline import DECODE_SIZES
from riffusion.engine import Engine, RequestHandle
from riffusion.engine.engine import EngineStep
from riffusion.errors import GenerationCancelled
from tests.engine.engine_requests import (
    IMAGE,
    LONG_PROMPT,
    MAX_GREY_LEVELS,
    SIZES,
    TIMEOUT_S,
    blocked,
    levels,
    noise_image,
    request,
)
from tests.runtime import emulated_graphs


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
            "num_inference_steps": draw(st.integers(1, 4)),
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
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
