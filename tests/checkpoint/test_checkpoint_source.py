"""Where a checkpoint is looked up, and which of its weight files are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from riffusion.checkpoint import source as checkpoint_source
from riffusion.checkpoint.files import weight_files
from riffusion.checkpoint.source import CheckpointSource, find_checkpoint
from riffusion.errors import CheckpointError
from tests.checkpoint.checkpoints import (
    UNET_WEIGHTS,
    change_json,
    change_weights,
    write_json,
)
from tests.checkpoint.refusal import refused


class TestSource:
    @pytest.fixture(autouse=True)
    def nothing_around(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No environment variable, no mount, no embedded checkpoint, an empty working folder."""
        monkeypatch.delenv("RIFFUSION_CHECKPOINT", raising=False)
        monkeypatch.setattr(checkpoint_source, "TRUSS_MOUNT", tmp_path / "mount")
        monkeypatch.setattr(
            checkpoint_source, "bundle_roots", lambda: [tmp_path / "app", tmp_path / "repository"]
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
        here, checkout = checkpoint_source.bundle_roots()
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
