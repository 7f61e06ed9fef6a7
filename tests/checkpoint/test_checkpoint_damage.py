"""Checkpoints that are damaged, foreign or hostile are refused, with one line that says why."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from riffusion.checkpoint.files import read_weights
from riffusion.checkpoint.loader import load_components
from riffusion.errors import CheckpointError
from tests.checkpoint.checkpoints import (
    UNET_WEIGHTS,
    VAE_WEIGHTS,
    TinyModel,
    change_json,
    change_weights,
    shard,
    tiny_model,
    write_old_folder,
    write_old_tokenizer,
    write_single_file,
)
from tests.checkpoint.refusal import refused


class Trap:
    """A pickle that makes a folder when its code is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


class TestPickles:
    @pytest.mark.parametrize("by_torch", [True, False], ids=["zip", "plain"])
    @pytest.mark.parametrize("single", [True, False], ids=["single file", "folder"])
    def test_code_in_a_pickle_is_refused_not_run(
        self, model: TinyModel, tmp_path: Path, single: bool, by_torch: bool
    ) -> None:
        sprung = tmp_path / "sprung"
        if single:
            source = path = write_single_file(model, tmp_path / "x" / "model.ckpt")
        else:
            source = write_old_folder(model, tmp_path / "x")
            path = source / "unet" / "diffusion_pytorch_model.bin"
        content = {"conv_in.weight": Trap(sprung)}
        if by_torch:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content))
        message = refused(source)
        assert str(path) in message
        assert "use the .safetensors version" in message
        assert not sprung.exists()

    def test_files_from_before_torch_kept_zip_archives(self, tmp_path: Path) -> None:
        content = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half()}
        path = tmp_path / "weights.bin"
        torch.save(content, path, _use_new_zipfile_serialization=False)
        for name, tensor in read_weights([path]).items():
            assert torch.equal(tensor, content[name])
            assert tensor.dtype == content[name].dtype

    def test_trap_would_spring(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
        assert (tmp_path / "sprung").exists()


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        os.truncate(path, int(path.stat().st_size * keep))

    return damage


def settings(name: str, **values: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / name, **values)


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    return lambda folder: change_weights(folder / name, change)


def fill(value: float) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda found: found["conv_in.bias"].fill_(value)


def without_a_shard(folder: Path) -> None:
    shard(folder / UNET_WEIGHTS, count=3)[1].unlink()


def inpainting(folder: Path) -> None:
    change_json(folder / "unet" / "config.json", in_channels=9)
    change_weights(
        folder / UNET_WEIGHTS,
        lambda found: found.update({"conv_in.weight": torch.zeros(32, 9, 3, 3)}),
    )


def four_more_inputs(folder: Path) -> None:
    change_json(folder / "unet" / "config.json", in_channels=8)
    change_weights(
        folder / UNET_WEIGHTS,
        lambda found: found.update({"conv_in.weight": torch.zeros(32, 8, 3, 3)}),
    )


def another_text_encoder(folder: Path) -> None:
    change_json(folder / "unet" / "config.json", cross_attention_dim=32)
    change_weights(
        folder / UNET_WEIGHTS,
        lambda found: found.update(
            {
                name: tensor[:, :32].contiguous()
                for name, tensor in found.items()
                if "attn2.to_k" in name or "attn2.to_v" in name
            }
        ),
    )


def larger_vocabulary(folder: Path) -> None:
    model = tiny_model()
    model.vocab |= {f"more{number}": len(model.vocab) + number for number in range(5)}
    shutil.rmtree(folder / "tokenizer")
    write_old_tokenizer(model, folder / "tokenizer")


DAMAGES = {
    "wrong scale": (
        overwrite("spectrogram_params.json", b'{"sample_rate": 0}'),
        r"spectrogram_params\.json: sample_rate=0 must be",
    ),
    "no index": (remove("model_index.json"), r"has no model_index\.json"),
    "no scheduler": (remove("scheduler/scheduler_config.json"), "lacks scheduler/scheduler_conf"),
    "no config": (remove("unet/config.json"), r"lacks unet/config\.json"),
    "no weights": (remove(UNET_WEIGHTS), "has no weights in unet/"),
    "no tokenizer": (remove("tokenizer/tokenizer.json"), r"lacks tokenizer/vocab\.json"),
    "no shard": (without_a_shard, r"lacks the shards .*-00002-of-00003\.safetensors"),
    "half the weights": (truncate(UNET_WEIGHTS, 0.5), "truncated or not a safetensors file"),
    "almost all weights": (truncate(UNET_WEIGHTS, 0.9999), "truncated or not a safetensors file"),
    "part of the header": (truncate(UNET_WEIGHTS, 0.001), "truncated or not a safetensors file"),
    "empty weights": (overwrite(UNET_WEIGHTS, b""), r"\(0 bytes\) is truncated or not a safe"),
    "text for weights": (overwrite(UNET_WEIGHTS, b"<html>not found</html>"), "not a safetensors"),
    "LFS pointer": (
        overwrite(UNET_WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "empty index": (overwrite("model_index.json", b""), "cannot be read as JSON"),
    "broken index": (overwrite("model_index.json", b'{"a": '), "cannot be read as JSON"),
    "binary index": (overwrite("model_index.json", b"\xff\xfe\x00"), "cannot be read as JSON"),
    "list for index": (overwrite("model_index.json", b"[]"), "must hold a JSON object"),
    "deep index": (overwrite("model_index.json", b"[" * 100_000), "cannot be read as JSON"),
    "broken config": (overwrite("vae/config.json", b"{"), "vae/config.json cannot be read as JSON"),
    "XL index": (
        settings(
            "model_index.json", text_encoder_2=["transformers", "CLIPTextModelWithProjection"]
        ),
        "text_encoder_2=CLIPTextModelWithProjection; only Stable Diffusion 1.x",
    ),
    "Flux index": (
        settings("model_index.json", unet=[None, None], transformer=["diffusers", "Flux2D"]),
        "transformer=Flux2D; only Stable Diffusion 1.x",
    ),
    "video index": (
        settings("model_index.json", unet=["diffusers", "UNet3DConditionModel"]),
        "unet=UNet3DConditionModel; only Stable Diffusion 1.x",
    ),
    "index without VAE": (settings("model_index.json", vae=[None, None]), "lacks vae; only"),
    "config of other blocks": (
        settings("unet/config.json", down_block_types=["NoSuchBlock", "DownBlock2D"]),
        "does not describe a UNet2DConditionModel",
    ),
    "config of other types": (
        settings("text_encoder/config.json", hidden_size="many"),
        "does not describe a CLIPTextModel",
    ),
    "config of a wider model": (
        settings("text_encoder/config.json", intermediate_size=256),
        "one of them is of another model",
    ),
    "config of a deeper model": (
        settings("text_encoder/config.json", num_hidden_layers=3),
        "lacks 16 of the 52 weights of its CLIPTextModel",
    ),
    "config of a flatter model": (
        settings("text_encoder/config.json", num_hidden_layers=1),
        "has 16 weights that its CLIPTextModel has no place for",
    ),
    "missing weight": (
        tensors(UNET_WEIGHTS, lambda found: found.pop("conv_out.bias")),
        r"lacks 1 of the \d+ weights of its UNet2DConditionModel \(conv_out\.bias\)",
    ),
    "weight too many": (
        tensors(VAE_WEIGHTS, lambda found: found.update(extra=torch.zeros(1))),
        r"1 weights that its AutoencoderKL has no place for \(extra\)",
    ),
    "weight of another shape": (
        tensors(UNET_WEIGHTS, lambda found: found.update({"conv_in.bias": torch.zeros(7)})),
        r"conv_in\.bias is torch\.float32 of shape \(7,\)",
    ),
    "quantised weight": (
        tensors(
            UNET_WEIGHTS,
            lambda found: found.update({"conv_in.bias": torch.zeros(32, dtype=torch.int8)}),
        ),
        r"conv_in\.bias is torch\.int8",
    ),
    "NaN weight": (tensors(UNET_WEIGHTS, fill(float("nan"))), r"not finite.*conv_in\.bias"),
    "infinite weight": (tensors(UNET_WEIGHTS, fill(float("-inf"))), r"not finite.*conv_in\.bias"),
    "inpainting UNet": (inpainting, "in_channels=9 is an inpainting model's"),
    "editing UNet": (four_more_inputs, "unet in_channels=8 must equal vae latent_channels=4"),
    "another text encoder": (another_text_encoder, "cross_attention_dim=32 must equal text_enc"),
    "larger vocabulary": (larger_vocabulary, "the tokenizer has 527 tokens"),
    "broken tokenizer": (overwrite("tokenizer/tokenizer.json", b"{}"), "is not a CLIP tokenizer"),
    "unknown scheduler": (
        settings("scheduler/scheduler_config.json", _class_name="NoSuchScheduler"),
        "'NoSuchScheduler' is not a scheduler of diffusers",
    ),
    "not a scheduler": (
        settings("scheduler/scheduler_config.json", _class_name="AutoencoderKL"),
        "'AutoencoderKL' is not a scheduler of diffusers",
    ),
    "invalid scheduler": (
        settings("scheduler/scheduler_config.json", beta_schedule="steep"),
        "does not describe a PNDMScheduler",
    ),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGES)
    def test_damaged_folder_is_named_with_a_remedy(self, folder: Path, name: str) -> None:
        damage, expected = DAMAGES[name]
        damage(folder)
        with pytest.raises(CheckpointError, match=expected):
            load_components(folder, device="cpu")
        refused(folder)

    @pytest.mark.parametrize("keep", [0, 0.001, 0.5, 0.99])
    def test_truncated_pickle(self, old_folder: Path, keep: float) -> None:
        truncate("unet/diffusion_pytorch_model.bin", keep)(old_folder)
        assert "diffusion_pytorch_model.bin" in refused(old_folder)

    def test_old_tokenizer_without_merges(self, old_folder: Path) -> None:
        (old_folder / "tokenizer" / "merges.txt").unlink()
        assert "lacks tokenizer/vocab.json with merges.txt" in refused(old_folder)

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            ([], "is empty"),
            (["README.txt"], "it holds README.txt"),
            (["config.json", "model.safetensors", "tokenizer.json"], "has no model_index.json"),
            (["pytorch_lora_weights.safetensors"], "LoRA"),
            (["adapter_config.json", "adapter_model.safetensors"], "LoRA"),
            (["learned_embeds.safetensors"], "holds a textual inversion, not a checkpoint"),
            (["v1.ckpt"], "to load a single file name it: v1.ckpt"),
        ],
    )
    def test_foreign_folder(self, tmp_path: Path, files: list[str], expected: str) -> None:
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        for name in files:
            (foreign / name).write_text("{}")
        assert expected in refused(foreign)

    @given(
        st.sampled_from([".safetensors", ".bin", ".ckpt"]),
        st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"\x10" + b"\0" * 7]),
        st.binary(max_size=100),
    )
    def test_arbitrary_bytes_are_never_more_than_refused(
        self, tmp_path_factory: pytest.TempPathFactory, suffix: str, start: bytes, rest: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
        path.write_bytes(start + rest)
        with pytest.raises(CheckpointError, match=f"bytes{suffix}"):
            read_weights([path])

    @given(st.data())
    def test_no_truncation_of_weights_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        suffix = data.draw(st.sampled_from([".safetensors", ".bin"]))
        path = tmp_path_factory.getbasetemp() / f"weights{suffix}"
        content = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5)}
        if suffix == ".bin":
            torch.save(content, path)
        else:
            save_file(content, path)
        assert read_weights([path]).keys() == content.keys()
        os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        with pytest.raises(CheckpointError, match="weights"):
            read_weights([path])
