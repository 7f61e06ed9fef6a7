"""The VAE: decoding in half precision that overflows is repeated in single precision."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.diffusion.torch_networks import TorchAutoencoder
from riffusion.diffusion.torch_random import generator_from_seed, noise_from_seed

HALF_ERROR = 0.02  # pixels of about 1; half precision keeps 11 bits, and errors add up over layers
LARGE = 1e6  # more than half precision holds, 65504


def overflow(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    """Multiply the batch's first row; the decoder's normalization undoes that in float32."""
    return torch.cat([output[:1] * LARGE, output[1:]])


@pytest.fixture
def vae(pristine: Path) -> AutoencoderKL:
    """A VAE in half precision, whose decoder overflows on the first row of a batch."""
    vae = copy.deepcopy(RiffusionPipeline.from_pretrained(pristine, device="cpu").vae).half()
    vae.decoder.mid_block.register_forward_hook(overflow)
    return vae


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).half()


@torch.inference_mode()
def test_an_image_that_overflows_is_decoded_in_single_precision(
    vae: AutoencoderKL, latents: torch.Tensor
) -> None:
    scaled = latents / vae.config.scaling_factor
    in_half = vae.decode(scaled, return_dict=False)[0]
    assert torch.isfinite(in_half).flatten(1).all(dim=1).tolist() == [False, True, True]
    in_single = copy.deepcopy(vae).float().decode(scaled.float(), return_dict=False)[0]
    pixels = TorchAutoencoder(vae).decode(latents)
    assert pixels.dtype == torch.float16
    assert (pixels[:1].float() - in_single[:1]).abs().max() < HALF_ERROR
    assert torch.equal(pixels[1:], in_half[1:])
    assert vae.dtype == torch.float16


@torch.inference_mode()
def test_the_vae_is_in_half_precision_again_after_an_error(
    vae: AutoencoderKL, latents: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = vae.decode

    def out_of_memory(latents: torch.Tensor, **options: Any) -> Any:
        if latents.dtype == torch.float32:
            raise torch.OutOfMemoryError("out of memory")
        return decode(latents, **options)

    monkeypatch.setattr(vae, "decode", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        TorchAutoencoder(vae).decode(latents)
    assert vae.dtype == torch.float16


SEEDS = [0, 1, 5, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**32 + 5, 2**33, 5 * 2**32, 2**63 - 1]


def test_all_bits_of_a_seed_count() -> None:
    geometry = LatentGeometry(64, 64, 8, 64)
    noises = [noise_from_seed(seed, geometry, 4) for seed in SEEDS]
    for index, noise in enumerate(noises):
        assert torch.equal(noise, noise_from_seed(SEEDS[index], geometry, 4))
        for other in noises[:index]:
            assert abs(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1]) < 0.3


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed < 2**32])
def test_seeds_below_2_to_the_32_are_torchs_own(seed: int) -> None:
    expected = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(torch.randn(1000, generator=generator_from_seed(seed)), expected)


@pytest.mark.parametrize("seed", [2**32, 2**40 + 3, 2**63 - 1])
def test_noise_of_large_seeds_is_gaussian(seed: int) -> None:
    noise = torch.randn(100_000, generator=generator_from_seed(seed))
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.2)
