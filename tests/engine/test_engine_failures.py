"""Calls of the engine that fail: which requests fail with them, and with which error."""

from typing import Any

import pytest
import torch

from riffusion.diffusion import RiffusionPipeline
from riffusion.engine import Engine
from riffusion.engine.engine import EngineStep
from riffusion.errors import ClipMemoryError, GenerationError, InputError
from tests.engine.engine_requests import IMAGE, MAX_GREY_LEVELS, TIMEOUT_S, blocked, levels, request


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
