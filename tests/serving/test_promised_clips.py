"""The service with promises: what is heard is in the answer, and a stop ends every draw."""

import asyncio
import threading
from typing import Any

import pytest

from riffusion.datatypes import InferenceInput, PromisedOutput
from riffusion.errors import GenerationCancelled, InputError
from riffusion.generation.generator import ClipGenerator
from riffusion.promises.drawing import MAX_DRAWS
from riffusion.serving.gateway.openapi import openapi_schema
from riffusion.serving.model.clip_service import ClipService
from tests.editing.conftest import generator
from tests.patience import PATIENCE_S, wait_until

__all__ = ["generator"]  # a fixture

STEPS = 4


def inputs(**fields: Any) -> InferenceInput:
    """A request whose key the tiny model doesn't draw."""
    return InferenceInput.parse(
        {
            "start": {"prompt": "bells", "seed": 1},
            "num_inference_steps": STEPS,
            "scheduler": "ddim",
            "preset": None,
            "key": "D minor",
            **fields,
        }
    )


class HeldUNet:
    """A UNet whose calls wait once there were as many as `after`."""

    def __init__(
        self, generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch, after: int
    ) -> None:
        self.num_calls = 0
        self.held, self.released = threading.Event(), threading.Event()
        self._after = after
        self._forward = generator.pipeline.unet.forward
        monkeypatch.setattr(generator.pipeline.unet, "forward", self.forward)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.num_calls += 1
        if self.num_calls > self._after:
            self.held.set()
            self.released.wait(PATIENCE_S)
        return self._forward(*args, **options)


def test_the_answer_says_what_is_heard_and_each_draw_has_its_progress(
    generator: ClipGenerator,
) -> None:
    async def scenario() -> tuple[PromisedOutput, list[Any]]:
        service = ClipService(generator)
        job = await service.submit(inputs(tempo_bpm=97.0, audio_format="wav"))
        progress = []
        put = job.put
        job.put = lambda event: (progress.append(event), put(event))[1]  # type: ignore[method-assign]
        output = await job.result(lambda: False)
        assert isinstance(output, PromisedOutput)
        return output, progress

    output, progress = asyncio.run(scenario())
    assert output.duration_s == pytest.approx(8 * 60 / 97, abs=1e-4)
    assert output.key != "D minor"
    (line,) = [line for line in output.remarks if line.startswith("key: ")]
    assert f"in {MAX_DRAWS} draws" in line
    numbers = [event[0] for event in progress if isinstance(event, tuple)]
    assert numbers.count(1) == MAX_DRAWS
    schema = openapi_schema()["components"]["schemas"]["PromisedOutput"]
    assert set(schema["properties"]) == set(output.model_dump())


def test_a_job_that_is_stopped_while_it_is_drawn_again_frees_its_slot(
    generator: ClipGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = HeldUNet(generator, monkeypatch, after=3)  # the first draw at denoising 0.75

    async def scenario() -> None:
        service = ClipService(generator)
        job = await service.submit(inputs())
        await asyncio.to_thread(unet.held.wait, PATIENCE_S)
        job.stop()
        unet.released.set()
        with pytest.raises(GenerationCancelled):
            await job.result(lambda: False)
        await job.task

    asyncio.run(scenario())
    assert unet.num_calls == 4
    wait_until(lambda: generator.engine.num_running == 0, "the slot is free")


@pytest.mark.parametrize("fields", [{"key": "H"}, {"tempo_bpm": 30.0, "beats": 40}])
def test_what_cannot_be_promised_is_refused_before_any_work(
    generator: ClipGenerator, fields: dict[str, Any]
) -> None:
    async def scenario() -> None:
        await ClipService(generator).submit(inputs(**fields))

    with pytest.raises(InputError):
        asyncio.run(scenario())
