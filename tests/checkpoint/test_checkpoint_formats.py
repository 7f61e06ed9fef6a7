"""Folders and single files load in every format, to any device and precision."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from riffusion.checkpoint.loader import choose_dtype, load_components
from riffusion.errors import InputError
from riffusion.spectrogram.params import SpectrogramParams
from tests.checkpoint.checkpoints import (
    NETWORKS,
    UNET_WEIGHTS,
    TinyModel,
    change_json,
    change_weights,
    original_weights,
    shard,
    write_folder,
    write_old_folder,
    write_single_file,
)
from tests.checkpoint.refusal import refused

HALF_TOLERANCE = 1e-3  # relative; half precision keeps 11 bits, 5e-4
OUTPUT_TOLERANCE = 1e-5  # absolute, of outputs near 1: the order of sums may differ


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

    def test_configs_beside_a_single_file_take_precedence(
        self, model: TinyModel, tmp_path: Path
    ) -> None:
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

    def test_v_prediction_marker_in_a_single_file(self, model: TinyModel, tmp_path: Path) -> None:
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

    def test_without_a_token_for_padding_the_end_pads(self, folder: Path) -> None:
        before = load_components(folder, device="cpu").tokenizer
        change_json(folder / "tokenizer" / "tokenizer_config.json", pad_token=None)
        tokenizer = load_components(folder, device="cpu").tokenizer
        assert tokenizer.pad_token_id == before.eos_token_id
        assert tokenizer("a", padding="max_length") == before("a", padding="max_length")

    def test_spectrogram_parameters_travel_with_the_checkpoint(self, folder: Path) -> None:
        assert load_components(folder, device="cpu").spectrogram_params == SpectrogramParams()
        params = SpectrogramParams(stereo=True, min_frequency=20, max_frequency=20_000)
        params.save(folder)
        assert load_components(folder, device="cpu").spectrogram_params == params

    def test_folders_and_files_need_no_network(
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
    def test_a_missing_gpu_falls_back_to_the_cpu_with_a_warning(
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
