"""The file of packed latents: rounding error, size, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from riffusion.datasets.encode import encode_dataset
from riffusion.datasets.folder import LATENTS_NAME, DatasetFolder, Split
from riffusion.datasets.latents import LatentExamples
from riffusion.datasets.packed_latents import read_latents, write_latents
from riffusion.errors import InputError
from riffusion.training.config import DataConfig
from tests.datasets.packed import HALF_PRECISION, LEVELS, SIDE, base, dataset, packed, vae_of

__all__ = ["base", "dataset", "packed"]  # fixtures


DEVIATION_TOLERANCE = 0.02
"""Relative, for the standard deviation of 150,000 rounding errors, which varies by 0.2 %."""


def pack(
    directory: Path, latents: torch.Tensor, levels: int = LEVELS
) -> tuple[float, torch.Tensor]:
    """The share of clipped values, and the latents as they are read back."""
    path = directory / LATENTS_NAME
    share = write_latents(path, latents, levels, (SIDE, SIDE), "encoder")
    return share, read_latents(path)[1]


@settings(max_examples=20, deadline=None)
@given(levels=st.integers(1, 64), rows=st.sampled_from([1, 255, 256, 300]), seed=st.integers(0, 99))
def test_rounding_errs_by_at_most_half_a_level(
    tmp_path_factory: pytest.TempPathFactory, levels: int, rows: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    latents = torch.rand(rows, 2, 3, 5, generator=generator) * 2 - 1
    latents *= 127 / levels
    share, back = pack(tmp_path_factory.mktemp("round"), latents, levels)
    assert share == 0
    assert back.dtype == torch.float16 and back.shape == latents.shape
    error = (back.float() - latents).abs().max()
    assert error <= 0.5 / levels + HALF_PRECISION * 127 / levels


def test_rounding_has_the_stated_deviation(tmp_path: Path) -> None:
    latents = torch.randn(600, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    error = pack(tmp_path, latents)[1].float() - latents
    assert float(error.std()) == pytest.approx(1 / (LEVELS * 12**0.5), rel=DEVIATION_TOLERANCE)


def test_values_out_of_range_are_clipped_and_counted(tmp_path: Path) -> None:
    latents = torch.zeros(2, 1, 5, 5)
    latents[0, 0, 0, 0], latents[1, 0, 4, 4] = 1e6, -1e6
    share, back = pack(tmp_path, latents)
    assert share == 2 / 50
    assert back[0, 0, 0, 0] == 127 / LEVELS and back[1, 0, 4, 4] == -127 / LEVELS


def test_repeated_bars_are_stored_once(tmp_path: Path) -> None:
    bar = torch.randn(16, 4, 32, 16, generator=torch.Generator().manual_seed(0))
    other = torch.randn(16, 4, 32, 16, generator=torch.Generator().manual_seed(1))
    pack(tmp_path, torch.cat([bar, other], dim=-1))
    size = (tmp_path / LATENTS_NAME).stat().st_size
    pack(tmp_path, torch.cat([bar, bar], dim=-1))
    assert (tmp_path / LATENTS_NAME).stat().st_size < 0.8 * size


def examples_of(packed: Path, vae: AutoencoderKL, cache: Path, **data: Any) -> LatentExamples:
    config = DataConfig(dataset=packed, **data)
    return LatentExamples(DatasetFolder(packed), "train", vae, config, cache)


def test_another_encoder_is_refused_another_decoder_is_not(
    packed: Path, base: Path, tmp_path: Path
) -> None:
    vae = vae_of(base)
    torch.nn.init.zeros_(vae.decoder.conv_out.weight)
    expected = read_latents(packed / "train" / LATENTS_NAME)[1]
    assert torch.equal(examples_of(packed, vae, tmp_path).latents, expected)
    torch.nn.init.zeros_(vae.encoder.conv_out.weight)
    with pytest.raises(InputError, match=r"holds latents of encoder \w+, but the VAE has encoder"):
        examples_of(packed, vae, tmp_path)


def test_another_scale_of_latents_is_refused(packed: Path, base: Path, tmp_path: Path) -> None:
    vae = vae_of(base)
    vae.register_to_config(scaling_factor=2 * vae.config.scaling_factor)
    with pytest.raises(InputError, match="holds latents of encoder"):
        examples_of(packed, vae, tmp_path)


def test_another_resolution_is_refused(packed: Path, base: Path, tmp_path: Path) -> None:
    examples_of(packed, vae_of(base), tmp_path, resolution=SIDE)
    with pytest.raises(InputError, match=r"data\.resolution=32 differs from the 16 x 16 pixels"):
        examples_of(packed, vae_of(base), tmp_path, resolution=2 * SIDE)


@pytest.fixture
def copy(dataset: Path, base: Path, tmp_path: Path) -> Path:
    """Packed latents to be damaged."""
    encode_dataset(DatasetFolder(dataset), vae_of(base), tmp_path / "copy")
    return tmp_path / "copy"


def test_the_header_keeps_its_former_key(tmp_path: Path) -> None:
    """Files of earlier versions say `picture`; they are read, and new ones can be read there."""
    pack(tmp_path, torch.zeros(2, 2, 3, 5))
    with safe_open(tmp_path / LATENTS_NAME, "pt") as file:
        header = json.loads(file.metadata()["packed_latents"])
    assert header["picture"] == [SIDE, SIDE]
    assert "image" not in header
    assert read_latents(tmp_path / LATENTS_NAME)[0].image == (SIDE, SIDE)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "fewer", "missing"])
def test_a_damaged_file_is_refused(copy: Path, base: Path, tmp_path: Path, damage: str) -> None:
    split: Split = "validation"
    path = copy / split / LATENTS_NAME
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        path.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])
    elif damage == "foreign":
        path.write_bytes((copy / "vae/diffusion_pytorch_model.safetensors").read_bytes())
    elif damage == "fewer":
        metadata = copy / split / "metadata.jsonl"
        metadata.write_text("".join(metadata.read_text().splitlines(keepends=True)[1:]))
    else:
        path.unlink()
    config = DataConfig(dataset=copy)
    with pytest.raises(InputError) as caught:
        LatentExamples(DatasetFolder(copy), split, vae_of(base), config, tmp_path)
    assert str(caught.value).startswith(f"latents={str(path)!r} cannot be read (")
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_less_than_a_shard_holds_is_refused(tmp_path: Path) -> None:
    """Data is never expanded beyond the size in the header."""
    pack(tmp_path, torch.zeros(4, 1, 64, 64))
    path = tmp_path / LATENTS_NAME
    data = path.read_bytes()
    changed = data.replace(rb"\"rows\":4", rb"\"rows\":1")
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(InputError, match="shard-00000 does not hold 1 rows"):
        read_latents(path)
