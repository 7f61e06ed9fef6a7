"""Edits in the service beside clips and other edits: slots, deadlines, clients that leave."""

import asyncio
from pathlib import Path

import pytest

from riffusion.datatypes import InferenceInput
from riffusion.diffusion import RiffusionPipeline
from riffusion.editing.editor import MAX_EDITS_AT_ONCE
from riffusion.errors import DeadlineExceededError, GenerationCancelled, OverloadedError
from riffusion.generation.generator import ClipGenerator
from riffusion.generation.seed_library import SeedLibrary
from riffusion.serving.model.clip_service import ClipService
from tests.editing.modes.edits import DURATION_S, TINY, repainted
from tests.patience import PATIENCE_S
from tests.serving.held_unet import HeldUNet

CLIP = InferenceInput.parse(
    {
        "start": {"prompt": "bells", "seed": 1},
        "mode": "txt2img",
        "duration_s": 5.12,
        "num_inference_steps": 2,
        "scheduler": "ddim",
    }
)


def test_a_clip_is_done_while_an_edit_goes_on(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        long = await service.submit(repainted(song, num_inference_steps=8))
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        short = await service.submit(CLIP)
        unet.released.set()
        await asyncio.wrap_future(short.handle.outcome)
        assert not long.handle.outcome.done()
        assert (await short.result(lambda: False)).duration_s == 5.12
        assert (await long.result(lambda: False)).duration_s == DURATION_S
        await asyncio.gather(long.task, short.task)

    asyncio.run(scenario())


def test_an_edit_stops_at_the_next_step_when_its_client_leaves(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        job = await ClipService(generator).submit(repainted(song))
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        with pytest.raises(GenerationCancelled):
            await job.result(lambda: True)
        unet.released.set()
        await job.task

    asyncio.run(scenario())
    assert unet.num_calls == 1


def test_an_edit_has_a_deadline(generator: ClipGenerator, unet: HeldUNet, song: str) -> None:
    async def scenario() -> None:
        service = ClipService(generator)
        with pytest.raises(DeadlineExceededError, match=r"deadline_s=0\.5"):
            job = await service.submit(repainted(song, deadline_s=0.5))
            await asyncio.sleep(0.6)
            unet.released.set()
            await job.result(lambda: False)
            await job.task

    asyncio.run(scenario())


def test_edits_share_the_slots_and_those_that_wait_stop_at_once(
    generator: ClipGenerator, unet: HeldUNet, song: str
) -> None:
    async def scenario() -> None:
        service = ClipService(generator, max_waiting=0)
        num_slots = generator.engine.max_num_running
        jobs = [await service.submit(repainted(song)) for _ in range(num_slots)]
        with pytest.raises(OverloadedError):
            await service.submit(repainted(song))
        for job in jobs[MAX_EDITS_AT_ONCE:]:  # the editor's threads haven't begun them
            job.stop()
            with pytest.raises(GenerationCancelled):
                await job.result(lambda: False)
            await job.task
        jobs.append(await service.submit(repainted(song)))
        for job in jobs:
            job.stop()
        unet.released.set()
        await asyncio.gather(*(job.task for job in jobs))

    asyncio.run(scenario())


def test_an_edit_that_waits_for_the_engine_stops_at_once_when_its_client_leaves(
    pristine: Path, monkeypatch: pytest.MonkeyPatch, song: str
) -> None:
    pipeline = RiffusionPipeline.from_pretrained(pristine, device="cpu")
    pipeline.spectrogram_params = TINY
    generator = ClipGenerator(pipeline, SeedLibrary.default(None), max_num_running=1)
    unet = HeldUNet(generator, monkeypatch)

    async def scenario() -> None:
        service = ClipService(generator)
        clip = await service.submit(CLIP)
        await asyncio.to_thread(unet.called.wait, PATIENCE_S)
        waiting = await service.submit(repainted(song))
        waiting.stop()
        unet.released.set()
        with pytest.raises(GenerationCancelled):
            await waiting.result(lambda: False)
        await asyncio.gather(clip.task, waiting.task)

    asyncio.run(scenario())
    generator.close()
    assert unet.num_calls == 2  # the clip's
