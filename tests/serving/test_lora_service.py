"""LoRAs of a server: from the folder that its operator names, by id and never by path."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
from safetensors.torch import load_file, save_file

from model.model import Model
from riffusion.audio.decoding_pool import DecodingPool
from riffusion.errors import InputError
from riffusion.generation.lora_folder import loras_from_environment
from riffusion.serving.gateway.model_info import model_info
from riffusion.serving.local.serve import serve
from riffusion.serving.model import metrics
from riffusion.serving.model.request_body import InferenceRequest
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import TinyModel, write_folder
from tests.checkpoint.loras import tiny_lora, write_kohya, write_ours, write_peft

PARAMS = SpectrogramParams(
    num_frequencies=32, sample_rate=8000, max_frequency=4000, num_griffin_lim_iters=4
)
"""Small, so quick."""


@pytest.fixture(scope="module")
def folder(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an operator's folder may hold, a checkpoint beside it, and a LoRA outside of both."""
    root = tmp_path_factory.mktemp("server")
    PARAMS.save(write_folder(model, root / "checkpoint"))
    folder = root / "loras"
    bells = write_kohya(tiny_lora(model, seed=1), root / "made")
    write_peft(tiny_lora(model, ("unet",), seed=2), folder / "choir")
    write_ours(tiny_lora(model, seed=3), folder / "our own.v2")
    (folder / "bells.safetensors").symlink_to(bells)
    (folder / "notes.txt").write_text("bells: weight 0.8")
    (folder / "nothing").mkdir()
    save_file({"text_encoder_2.x": load_file(bells).popitem()[1]}, folder / "xl.safetensors")
    bells.rename(root / "outside.safetensors")
    (folder / "bells.safetensors").unlink()
    (folder / "bells.safetensors").symlink_to(root / "outside.safetensors")
    return folder


@pytest.fixture
def served(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Model]:
    pools: list[DecodingPool] = []

    class Recorded(DecodingPool):
        def start(self) -> None:
            pools.append(self)
            super().start()

    monkeypatch.setattr("model.model.DecodingPool", Recorded)
    monkeypatch.setattr("riffusion.generation.generator.ClipGenerator.warm_up", lambda _: None)
    monkeypatch.setenv("RIFFUSION_REQUIRE_GPU", "0")
    monkeypatch.setenv("RIFFUSION_CHECKPOINT", str(folder.parent / "checkpoint"))
    monkeypatch.setenv("RIFFUSION_LORAS", str(folder))
    model = Model()
    with caplog.at_level(logging.INFO, logger="riffusion"):
        model.load()
    yield model
    assert model._service is not None
    model._service._maker._generator.close()
    metrics.show_loras(())
    for pool in pools:
        pool.close()


def body(loras: Any) -> dict[str, Any]:
    start = {"prompt": "bells", "seed": 1}
    values = {"start": start, "mode": "txt2img", "duration_s": 0.64, "num_inference_steps": 2}
    return values | {"image_format": "png", "loras": loras}


async def answer(model: Model, loras: Any) -> tuple[int, dict[str, Any]]:
    @contextlib.contextmanager
    def watch_disconnect() -> Iterator[asyncio.Event]:
        yield asyncio.Event()

    request: Any = SimpleNamespace(
        state=SimpleNamespace(watch_disconnect=watch_disconnect), headers={}
    )
    inputs = InferenceRequest.parse(body(loras))
    response: Any = await model.predict(inputs, request)
    return response.status_code, json.loads(response.body)


def test_loras_by_id(served: Model, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = "\n".join(record.getMessage() for record in caplog.get_records("setup"))
    assert re.search(r"left out: loras: .*xl.safetensors is a LoRA for Stable Diffusion XL", log)
    ids = ["bells", "choir", "our own.v2"]
    assert model_info(prometheus_client.generate_latest().decode())["loras"] == ids
    wanted: list[list[dict[str, Any]]] = [
        [],
        [{"id": "bells"}],
        [{"id": "choir", "weight": 0.5}],
        [{"id": "our own.v2", "weight": 1}, {"id": "bells", "weight": -1.0}],
    ]

    async def scenario() -> list[tuple[int, dict[str, Any]]]:
        alone = [await answer(served, loras) for loras in wanted]
        together = await asyncio.gather(*(answer(served, loras) for loras in wanted))
        assert [image["image"] for _, image in alone] == [image["image"] for _, image in together]
        for bad in (
            "../outside", "outside", "bells.safetensors", "xl", "notes", "nothing", ".", "..", "/",
            str(folder / "bells.safetensors"), "choir/adapter_model", "x" * 4000, "\x00", "BELLS",
        ):  # fmt: skip
            status, content = await answer(served, [{"id": "bells"}, {"id": bad}])
            assert status == 400
            assert content["error"].startswith("loras: '")
            assert content["error"].endswith("is unknown; use one of: bells, choir, our own.v2")
            assert len(content["error"]) < 150
        status, content = await answer(served, [{"id": "bells"}, {"id": "bells", "weight": 0}])
        assert (status, content["error"]) == (400, "loras: 'bells' occurs twice; name each once")
        return alone

    answers = asyncio.run(scenario())
    assert {status for status, _ in answers} == {200}
    assert len({content["image"] for _, content in answers}) == len(wanted)


@pytest.mark.parametrize(
    ("loras", "expected"),
    [
        ("bells", "loras: "),
        ([{"weight": 1}], "loras.0.id: "),
        ([{"id": ""}], "loras.0.id: "),
        ([{"id": 3}], "loras.0.id: "),
        ([{"id": "a", "weight": 10.5}], "loras.0.weight: "),
        ([{"id": "a", "weight": "1"}], "loras.0.weight: "),
        ([{"id": "a", "weight": float("nan")}], "loras.0.weight: "),
        (["a"], "loras.0: "),
        ([{"id": str(number)} for number in range(9)], "loras: "),
    ],
)
def test_a_field_that_is_not_valid(loras: Any, expected: str) -> None:
    with pytest.raises(InputError) as refusal:
        InferenceRequest.parse(body(loras))
    assert str(refusal.value).startswith(expected)


def test_the_request_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    section = page.partition("## LoRAs of a server\n")[2]
    example = re.search(r"```json\n(.*?)\n```", section, re.DOTALL)
    assert example is not None
    loras = InferenceRequest.parse_raw(example[1]).loras
    assert [(lora.id, lora.weight) for lora in loras] == [("bells", 0.8), ("choir", 1.0)]


def test_info_has_the_ids_if_there_are_any() -> None:
    assert "loras" not in model_info("")
    sample = 'riffusion_lora{id="a, \\"b\\""} 1.0\nriffusion_lora{id="A"} 1.0\n'
    assert model_info(sample)["loras"] == ["A", 'a, "b"']


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for name in ("none", "file"):
        monkeypatch.setenv("RIFFUSION_LORAS", str(tmp_path / name))
        with pytest.raises(InputError, match=r"^loras: '.*' can't be listed \(No.* folder with"):
            loras_from_environment()
        with pytest.raises(InputError, match=r"^loras: '.*' is not a folder; name one with LoRAs"):
            serve(loras=tmp_path / name)
    with pytest.raises(InputError, match=r"^loras: is for a local server"):
        serve(loras=tmp_path, endpoint="http://127.0.0.1:9")
    monkeypatch.delenv("RIFFUSION_LORAS")
    assert loras_from_environment() == {}
