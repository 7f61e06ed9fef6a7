"""Checkpoints from folders and single files: every format, and everything that can be wrong."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save_file

from riffusion.diffusion import checkpoint_source
from riffusion.diffusion.checkpoint import choose_dtype, load_components
from riffusion.diffusion.checkpoint_files import read_weights, weight_files
from riffusion.diffusion.checkpoint_source import CheckpointSource, find_checkpoint
from riffusion.errors import CheckpointError, InputError
from riffusion.spectrogram_params import SpectrogramParams

from .checkpoints import (
    TinyModel,
    change_json,
    change_weights,
    original_weights,
    shard,
    tiny_model,
    write_folder,
    write_json,
    write_old_folder,
    write_old_tokenizer,
    write_single_file,
)

NETWORKS = ("vae", "unet", "text_encoder")
HALF_TOLERANCE = 1e-3  # relative; half precision keeps 11 bits, 5e-4
OUTPUT_TOLERANCE = 1e-5  # absolute, of outputs near 1: the order of sums may differ
UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
VAE_WEIGHTS = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> TinyModel:
    return tiny_model()


@pytest.fixture(scope="module")
def pristine(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(model, tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="module")
def pristine_old(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_old_folder(model, tmp_path_factory.mktemp("pristine") / "old")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A checkpoint of today's format that a test may damage."""
    return shutil.copytree(pristine, tmp_path / "checkpoint")


@pytest.fixture
def old_folder(pristine_old: Path, tmp_path: Path) -> Path:
    """A checkpoint of the old format that a test may damage."""
    return shutil.copytree(pristine_old, tmp_path / "checkpoint")


def refused(source: Path) -> str:
    """The one-line message that loading is refused with; it names what was asked for."""
    with pytest.raises(CheckpointError) as refusal:
        load_components(str(source), device="cpu")
    message = str(refusal.value)
    assert "\n" not in message
    assert str(source) in message
    return message


class TestFormats:
    @staticmethod
    def sharded(model: TinyModel, folder: Path) -> Path:
        write_folder(model, folder)
        shard(folder / UNET_WEIGHTS, count=3)
        shard(folder / "text_encoder" / "model.safetensors")
        return folder

    @staticmethod
    def single_safetensors(model: TinyModel, folder: Path) -> Path:
        return write_single_file(model, folder / "model.safetensors")

    @staticmethod
    def single_ckpt(model: TinyModel, folder: Path) -> Path:
        return write_single_file(model, folder / "model.ckpt")

    @staticmethod
    def single_without_schedule(model: TinyModel, folder: Path) -> Path:
        return write_single_file(model, folder / "model.safetensors", schedule=False)

    @pytest.mark.parametrize(
        ("write", "weights_format"),
        [
            (write_folder, "SafeTensors"),
            (sharded, "SafeTensors"),
            (write_old_folder, "pickle"),
            (single_safetensors, "SafeTensors"),
            (single_ckpt, "pickle"),
            (single_without_schedule, "SafeTensors"),
        ],
    )
    def test_every_format_gives_the_same_model(
        self,
        model: TinyModel,
        tmp_path: Path,
        write: Callable[[TinyModel, Path], Path],
        weights_format: str,
    ) -> None:
        components = load_components(write(model, tmp_path / "x"), device="cpu")
        assert components.weights_format == weights_format
        for part in NETWORKS:
            expected = getattr(model, part).state_dict()
            loaded = getattr(components, part).state_dict()
            assert loaded.keys() == expected.keys()
            assert all(torch.equal(loaded[name], expected[name]) for name in expected)
            assert not getattr(components, part).training
        latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
        tokens = components.tokenizer(
            "piano and bells", padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            text = components.text_encoder(tokens)[0]
            for got, wanted in (
                (text, model.text_encoder(tokens)[0]),
                (components.vae.decode(latents).sample, model.vae.decode(latents).sample),
                (
                    components.unet(latents, 10, text).sample,
                    model.unet(latents, 10, text).sample,
                ),
            ):
                torch.testing.assert_close(got, wanted, rtol=0, atol=OUTPUT_TOLERANCE)
        assert type(components.scheduler).__name__ == "PNDMScheduler"
        assert torch.equal(components.scheduler.alphas_cumprod, model.scheduler.alphas_cumprod)
        assert components.vae.config.scaling_factor == model.vae.config.scaling_factor

    @pytest.mark.parametrize("write", [write_folder, write_old_folder])
    def test_tokens_with_and_without_tokenizer_json(
        self, model: TinyModel, tmp_path: Path, write: Callable[[TinyModel, Path], Path]
    ) -> None:
        tokenizer = load_components(write(model, tmp_path / "x"), device="cpu").tokenizer
        words = ["<|startoftext|>", "piano</w>", "a", "n", "d</w>", "bells</w>", "<|endoftext|>"]
        assert tokenizer("Piano and  BELLS").input_ids == [model.vocab[word] for word in words]
        assert tokenizer.model_max_length == 77
        padded = tokenizer("", padding="max_length").input_ids
        assert padded == [model.vocab["<|startoftext|>"]] + [model.vocab["<|endoftext|>"]] * 76

    def test_half_precision_files_are_computed_in_single_on_the_cpu(
        self, model: TinyModel, tmp_path: Path
    ) -> None:
        components = load_components(write_folder(model, tmp_path, variant="fp16"), device="cpu")
        assert components.dtype == torch.float32
        for name, weight in components.unet.state_dict().items():
            expected = model.unet.state_dict()[name]
            torch.testing.assert_close(weight, expected, rtol=HALF_TOLERANCE, atol=1e-6)

    def test_safetensors_are_preferred_over_pickles(self, folder: Path) -> None:
        for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
            (folder / part / f"{stem}.bin").write_bytes(b"not read")
        assert load_components(folder, device="cpu").weights_format == "SafeTensors"

    def test_safety_checker_is_left_out_and_the_reason_logged(
        self, old_folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="riffusion"):
            load_components(old_folder, device="cpu")
        assert "it blanks spectrograms" in caplog.text

    def test_configs_beside_a_single_file_go_first(self, model: TinyModel, tmp_path: Path) -> None:
        path = write_single_file(model, tmp_path / "model.safetensors")
        model.vae.save_config(tmp_path / "vae")
        change_json(tmp_path / "vae" / "config.json", scaling_factor=0.5)
        model.scheduler.save_config(tmp_path / "scheduler")
        change_json(
            tmp_path / "scheduler" / "scheduler_config.json",
            _class_name="DDIMScheduler",
            prediction_type="v_prediction",
        )
        components = load_components(path, device="cpu")
        assert components.vae.config.scaling_factor == 0.5
        assert type(components.scheduler).__name__ == "DDIMScheduler"
        assert components.scheduler.config.prediction_type == "v_prediction"

    def test_mark_of_v_prediction_in_a_single_file(self, model: TinyModel, tmp_path: Path) -> None:
        path = write_single_file(model, tmp_path / "model.safetensors")
        change_weights(path, lambda tensors: tensors.update(v_pred=torch.zeros(1)))
        scheduler = load_components(path, device="cpu").scheduler
        assert scheduler.config.prediction_type == "v_prediction"

    def test_scheduler_settings_come_from_the_checkpoint(self, folder: Path) -> None:
        settings = {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
        change_json(folder / "scheduler" / "scheduler_config.json", **settings)
        scheduler = load_components(folder, device="cpu").scheduler
        assert type(scheduler).__name__ == "DDIMScheduler"
        assert scheduler.config.prediction_type == "v_prediction"

    def test_tokenizer_without_a_limit_gets_the_encoders(self, old_folder: Path) -> None:
        change_json(old_folder / "tokenizer" / "tokenizer_config.json", model_max_length=None)
        assert load_components(old_folder, device="cpu").tokenizer.model_max_length == 77

    def test_spectrogram_parameters_travel_with_the_checkpoint(self, folder: Path) -> None:
        assert load_components(folder, device="cpu").spectrogram_params == SpectrogramParams()
        params = SpectrogramParams(stereo=True, min_frequency=20, max_frequency=20_000)
        params.save(folder)
        assert load_components(folder, device="cpu").spectrogram_params == params

    def test_folders_and_files_ask_no_network(
        self, model: TinyModel, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("a connection was tried")

        path = write_single_file(model, tmp_path / "single" / "model.safetensors")
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        load_components(folder, device="cpu")
        load_components(path, device="cpu")

    def test_loading_is_reported_once(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, logger="riffusion"):
            components = load_components(folder, device="cpu")
        assert components.description == (
            "checkpoint (argument) on cpu in float32, UNet 0.8 M parameters, SafeTensors"
        )
        assert [record.message for record in caplog.records] == [
            f"loaded checkpoint {components.description} from {folder}"
        ]


class Trap:
    """A pickle that would leave a file behind if it were run."""

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


class TestSingleFiles:
    @pytest.fixture
    def path(self, model: TinyModel, tmp_path: Path) -> Path:
        return write_single_file(model, tmp_path / "model.safetensors")

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["lora_unet_down_blocks_0.lora_up.weight"], "is a LoRA"),
            (["conditioner.embedders.0.x", "model.diffusion_model.x"], "Stable Diffusion XL"),
            (["cond_stage_model.model.x", "first_stage_model.x"], "Stable Diffusion 2.x"),
            (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
            (["down_blocks.0.resnets.0.conv1.weight"], "name the folder"),
            (["model.diffusion_model.x"], "has no weights named first_stage_model"),
            (["model.layers.0.mlp.up_proj.weight"], "has no weights named model.diffusion_model"),
        ],
    )
    def test_foreign_file(self, tmp_path: Path, names: list[str], expected: str) -> None:
        path = tmp_path / "foreign.safetensors"
        save_file({name: torch.zeros(1) for name in names}, path)
        assert expected in refused(path)

    @pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
    @pytest.mark.parametrize("content", [b"", b"hello\n", b"\x80\x04", b"PK\x03\x04broken"])
    def test_file_that_is_something_else(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        assert "bytes" in refused(path)

    @pytest.mark.parametrize(
        "name",
        [
            "model.diffusion_model.out.2.bias",
            "model.diffusion_model.input_blocks.0.0.weight",
            "model.diffusion_model.output_blocks.0.0.in_layers.2.weight",
            "first_stage_model.decoder.conv_in.weight",
            "first_stage_model.post_quant_conv.weight",
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
        ],
    )
    def test_missing_weight(self, path: Path, name: str) -> None:
        change_weights(path, lambda found: found.pop(name))
        refused(path)

    def test_another_noise_schedule(self, path: Path) -> None:
        change_weights(
            path, lambda found: found.update(alphas_cumprod=found["alphas_cumprod"] * 0.9)
        )
        assert "trained with another noise schedule" in refused(path)

    def test_no_tokenizer_for_another_vocabulary(self, path: Path) -> None:
        shutil.rmtree(path.parent / "tokenizer")
        message = refused(path)
        assert f"put vocab.json and merges.txt of its tokenizer into {path.parent}" in message

    def test_pickle_of_a_model_object(self, tmp_path: Path) -> None:
        path = tmp_path / "model.ckpt"
        torch.save(torch.nn.Linear(2, 2), path)
        assert "use the .safetensors version" in refused(path)

    def test_tensors_in_a_list(self, tmp_path: Path) -> None:
        path = tmp_path / "model.ckpt"
        torch.save([torch.zeros(2)], path)
        assert "must hold tensors by name" in refused(path)

    def test_helper_writes_the_published_layout(self, model: TinyModel) -> None:
        """Names that riffusion-model-v1.ckpt has, whose shapes only differ in size."""
        names = original_weights(model).keys()
        assert {
            "model.diffusion_model.time_embed.0.weight",
            "model.diffusion_model.input_blocks.1.0.in_layers.0.weight",
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
            "model.diffusion_model.input_blocks.2.0.op.weight",
            "model.diffusion_model.middle_block.1.proj_in.weight",
            "model.diffusion_model.output_blocks.1.1.conv.weight",
            "model.diffusion_model.out.2.weight",
            "first_stage_model.encoder.down.0.downsample.conv.weight",
            "first_stage_model.encoder.mid.attn_1.q.weight",
            "first_stage_model.decoder.up.1.upsample.conv.weight",
            "first_stage_model.quant_conv.weight",
            "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
        } <= names


class TestDeviceAndPrecision:
    def test_gpu_that_is_not_there_gives_the_cpu_and_a_warning(
        self, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        components = load_components(folder, device="cuda", dtype=torch.float16)
        assert components.device == torch.device("cpu")
        assert components.dtype == torch.float32
        levels = [record.levelname for record in caplog.records]
        assert levels.count("WARNING") == 2

    @pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "tpu:0"])
    def test_unknown_device(self, folder: Path, device: str) -> None:
        with pytest.raises(InputError, match="device"):
            load_components(folder, device=device)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
    def test_unknown_precision(self, folder: Path, dtype: torch.dtype) -> None:
        with pytest.raises(InputError, match="must be float32, float16 or bfloat16"):
            load_components(folder, device="cpu", dtype=dtype)

    def test_bfloat16_on_request(self, folder: Path) -> None:
        components = load_components(folder, device="cpu", dtype=torch.bfloat16)
        for part in NETWORKS:
            assert {weight.dtype for weight in getattr(components, part).parameters()} == {
                torch.bfloat16
            }

    def test_half_precision_is_for_cuda(self) -> None:
        assert choose_dtype(torch.device("cuda")) == torch.float16
        assert choose_dtype(torch.device("mps")) == torch.float32
        assert choose_dtype(torch.device("mps"), torch.float16) == torch.float16


class TestSource:
    @pytest.fixture(autouse=True)
    def nothing_around(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No environment variable, no mount, no embedded checkpoint, an empty working folder."""
        monkeypatch.delenv("RIFFUSION_CHECKPOINT", raising=False)
        monkeypatch.setattr(checkpoint_source, "TRUSS_MOUNT", tmp_path / "mount")
        monkeypatch.setattr(
            checkpoint_source, "_bundle_roots", lambda: [tmp_path / "app", tmp_path / "repository"]
        )
        monkeypatch.chdir(tmp_path)

    def test_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each place is used once all before it are empty."""
        embedded = Path("data") / "demo-checkpoint"
        with pytest.raises(CheckpointError, match="no checkpoint: data/demo-checkpoint is in none"):
            find_checkpoint()
        for root in ("repository", "app"):
            (tmp_path / root / embedded).mkdir(parents=True)
            assert find_checkpoint() == CheckpointSource(
                "folder", str(tmp_path / root / embedded), origin="embedded"
            )
        (tmp_path / "mount").mkdir()
        assert find_checkpoint() == CheckpointSource(
            "folder", str(tmp_path / "mount"), origin="Truss weights mount"
        )
        monkeypatch.setenv("RIFFUSION_CHECKPOINT", "")
        assert find_checkpoint().origin == "Truss weights mount"
        monkeypatch.setenv("RIFFUSION_CHECKPOINT", "owner/name@v1")
        assert find_checkpoint() == CheckpointSource(
            "hub", "owner/name", "v1", "RIFFUSION_CHECKPOINT"
        )
        assert find_checkpoint(tmp_path / "app") == CheckpointSource(
            "folder", str(tmp_path / "app"), origin="argument"
        )

    def test_truss_and_checkout_roots(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        here, checkout = checkpoint_source._bundle_roots()
        assert here == tmp_path
        assert (checkout / "packages" / "riffusion" / "errors.py").is_file()

    def test_files_and_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("a.ckpt", "b.safetensors"):
            (tmp_path / name).touch()
            assert find_checkpoint(f"~/{name}") == CheckpointSource("file", str(tmp_path / name))

    def test_folder_wins_over_a_hub_id_spelled_the_same(self, tmp_path: Path) -> None:
        assert find_checkpoint("owner/name").kind == "hub"
        (tmp_path / "owner" / "name").mkdir(parents=True)
        assert find_checkpoint("owner/name").kind == "folder"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "nowhere",
            "/no/such/folder",
            "./no/such",
            "../up",
            "~/nowhere",
            "owner/model.safetensors",
            "owner/name@",
            "https://hub.example/owner/name",
            "a/b/c",
            "name with spaces/x",
            "owner/name\n",
            "x\0y",
        ],
    )
    def test_neither_path_nor_id(self, text: str) -> None:
        with pytest.raises(CheckpointError, match="does not exist; give a diffusers folder"):
            find_checkpoint(text)

    def test_environment_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RIFFUSION_CHECKPOINT", "/no/such/folder")
        with pytest.raises(CheckpointError, match="RIFFUSION_CHECKPOINT='/no/such/folder'"):
            find_checkpoint()

    def test_file_from_inside_a_folder(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match="is it a file from inside such a folder"):
            find_checkpoint(folder / "model_index.json")
        message = refused(folder / UNET_WEIGHTS)
        assert "name the folder with model_index.json" in message


class TestWeightFiles:
    def test_preference(self) -> None:
        names = [
            f"unet/diffusion_pytorch_model{rest}"
            for rest in (
                ".safetensors",
                ".fp16.safetensors",
                ".bin",
                ".fp16.bin",
                "-00001-of-00001.safetensors",
                ".non_ema.safetensors",
            )
        ]
        for prefer_half, order in ((False, [0, 4, 1, 2, 3]), (True, [1, 0, 4, 3, 2])):
            left = list(names)
            for expected in order:
                chosen = weight_files(left, "unet", prefer_half=prefer_half, where="x")
                assert chosen == [names[expected]]
                left.remove(names[expected])
            with pytest.raises(CheckpointError, match="no weights"):
                weight_files(left, "unet", prefer_half=prefer_half, where="x")

    @given(st.integers(1, 20), st.data())
    def test_all_shards_or_none(self, count: int, data: st.DataObject) -> None:
        names = [
            f"text_encoder/model-{number:05}-of-{count:05}.safetensors"
            for number in range(1, count + 1)
        ]
        shuffled = data.draw(st.permutations(names))
        assert weight_files(shuffled, "text_encoder", where="x") == names
        lost = data.draw(st.sampled_from(names))
        with pytest.raises(CheckpointError):
            weight_files([name for name in names if name != lost], "text_encoder", where="x")

    def test_old_helper_writes_old_names(self, old_folder: Path) -> None:
        """The names that published checkpoints of diffusers 0.9 have."""
        vae = torch.load(old_folder / "vae" / "diffusion_pytorch_model.bin", weights_only=True)
        text = torch.load(old_folder / "text_encoder" / "pytorch_model.bin", weights_only=True)
        assert "encoder.mid_block.attentions.0.proj_attn.weight" in vae
        assert "decoder.mid_block.attentions.0.query.bias" in vae
        assert "text_model.embeddings.position_ids" in text

    def test_json_and_safetensors_round_trip_of_the_helpers(self, folder: Path) -> None:
        write_json(folder / "x.json", {"a": 1})
        change_json(folder / "x.json", b=2)
        assert (folder / "x.json").read_text().count(":") == 2
        before = load((folder / UNET_WEIGHTS).read_bytes())
        change_weights(folder / UNET_WEIGHTS, lambda found: found.pop("conv_in.bias"))
        assert before.keys() - load((folder / UNET_WEIGHTS).read_bytes()).keys() == {"conv_in.bias"}
