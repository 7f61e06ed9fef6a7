"""Training an autoencoder without a posterior: its noise, its scale, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC

from riffusion.checkpoint.autoencoders import mean_latents
from riffusion.errors import InputError
from riffusion.training.losses.reconstruction import multiscale_error, texture_error
from riffusion.training.recipes.autoencoder import AutoencoderObjective, AutoencoderRecipe
from tests.training.autoencoder_options import DC_OPTIONS, TINY_OPTIONS
from tests.training.recipe_runs import loss_of, new_recipe, tiny_vae
from tests.training.recipe_runs import train as train_recipe
from tests.training.trainer_runs import autoencoder_config


def config_of(
    dataset: Path, output: Path, options: dict[str, Any] = DC_OPTIONS, **run: Any
) -> dict[str, Any]:
    run = {"ema_decay": 0.0, "sample_every": 0, "validate_every": 0, "save_every": 0} | run
    return autoencoder_config(dataset, output, **run) | {"autoencoder": options}


@pytest.mark.parametrize("options", [DC_OPTIONS, TINY_OPTIONS])
def test_the_error_falls_and_scaled_latents_have_unit_deviation(
    dataset: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = config_of(dataset, tmp_path / "run", options, steps=60)
    config["loss"] = {"multiscale": 0.5, "texture": 0.5}
    before = loss_of(new_recipe(config, tmp_path), tmp_path, "error_of_255")
    recipe, folder = train_recipe(config, tmp_path)
    assert isinstance(recipe, AutoencoderRecipe)
    assert loss_of(recipe, tmp_path, "error_of_255") < 0.7 * before
    assert f"`{options['class_name']}`, factor 2, 4 latent channels" in str(recipe.facts())

    kept = type(recipe.objective.vae).from_pretrained(folder / "vae")
    assert recipe.objective.vae.config.scaling_factor == 1  # training goes on unscaled
    images = torch.stack(recipe._images("train", 24))
    with torch.inference_mode():
        latents = mean_latents(kept, images) * kept.config.scaling_factor
    assert latents.var(dim=(0, 2, 3)).mean().sqrt() == pytest.approx(1, abs=0.01)
    for name, weight in kept.state_dict().items():
        assert torch.equal(weight, recipe.objective.vae.state_dict()[name]), name


def test_only_the_decoder_of_it_changes(dataset: Path, tmp_path: Path) -> None:
    _, whole = train_recipe(config_of(dataset, tmp_path / "whole", steps=2), tmp_path)
    config = config_of(dataset, tmp_path / "decoder", {}, steps=3)
    del config["autoencoder"]  # the class and its options are the checkpoint's
    config |= {"init_from": str(whole), "train_decoder_only": True}
    _, decoder = train_recipe(config, tmp_path)
    old, new = (AutoencoderDC.from_pretrained(folder / "vae") for folder in (whole, decoder))
    assert new.config.scaling_factor == old.config.scaling_factor != 1
    changed = {n for n, w in new.state_dict().items() if not torch.equal(w, old.state_dict()[n])}
    assert changed == {name for name in old.state_dict() if name.startswith("decoder.")}


def test_noise_is_relative_to_the_deviation_of_the_latents(dataset: Path, tmp_path: Path) -> None:
    """Latents ten times as large get noise ten times as large, and none with `latent_noise` 0."""
    seen: dict[tuple[float, float], torch.Tensor] = {}
    pixels = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(5)) * 2 - 1
    for noise in (0.0, 0.2):
        config = config_of(dataset, tmp_path / "run")
        config["loss"] = {"latent_noise": noise}
        objective = new_recipe(config, tmp_path).objective
        assert isinstance(objective, AutoencoderObjective)
        for scale in (1.0, 10.0):
            clean = mean_latents(objective.vae, pixels).detach() * scale
            objective.vae.encode = lambda _, return_dict=True, latents=clean: (latents,)  # type: ignore[method-assign]
            noisy = objective._latents(pixels, torch.Generator().manual_seed(1))[0]
            seen[noise, scale] = noisy - clean
            del objective.vae.encode
            assert not seen[0.0, scale].any()
            if noise:
                expected = noise * clean.var(dim=(0, 2, 3)).mean().sqrt()
                assert seen[noise, scale].std() == pytest.approx(float(expected), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autoencoder": DC_OPTIONS | {"class_name": "VQModel"}}, "class_name='VQModel' cannot be"),
        ({"autoencoder": {"class_name": ["x"]}}, r"class_name=\['x'\] cannot be trained; use one"),
        ({"autoencoder": DC_OPTIONS | {"block_out_channels": [8]}}, "block_out_channels is not an"),
        ({"autoencoder": DC_OPTIONS | {"encoder_layers_per_block": []}}, "AutoencoderDC refuses"),
        (
            {"autoencoder": DC_OPTIONS | {"in_channels": 1}},
            "autoencoder.in_channels=1 must be 3 to fit images, which are read as RGB; leave it",
        ),
        ({"loss": {"kl": 1e-3}}, "loss.kl=0.001 does not apply to AutoencoderDC, since"),
        (
            {"loss": {"latent_noise": 0.1}, "autoencoder": {}},
            "loss.latent_noise=0.1 does not apply to AutoencoderKL, since a VAE learns it; set",
        ),
    ],
)
def test_options_that_do_not_fit_the_class_are_refused(
    dataset: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = config_of(dataset, tmp_path / "run")
    with pytest.raises(InputError, match=message) as caught:
        new_recipe(config | changes, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_discriminator_joins_when_it_is_due_and_is_not_counted_as_error(
    dataset: Path, tmp_path: Path
) -> None:
    config = config_of(dataset, tmp_path / "run", steps=8)
    config["loss"] = {"adversarial": 0.1, "adversarial_start": 0.5}
    recipe = new_recipe(config, tmp_path)
    initial = [weight.detach().clone() for weight in recipe.objective.discriminator.parameters()]
    _, _ = train_recipe(config | {"output": str(tmp_path / "early")}, tmp_path)
    batch = {"pixels": torch.rand(2, 3, 32, 32)}
    losses = {}
    for share in (0.49, 0.5):
        recipe.objective.share_done = share
        losses[share] = recipe.objective(batch, torch.Generator().manual_seed(0))
    assert losses[0.49].keys() == losses[0.5].keys()
    assert losses[0.49]["discriminator"] == losses[0.49]["generator"] == 0
    assert losses[0.5]["discriminator"] > 0
    assert losses[0.5]["error_of_255"] == losses[0.49]["error_of_255"]
    assert losses[0.5]["loss"] > losses[0.49]["loss"] + 0.9 * losses[0.5]["discriminator"]
    losses[0.49]["loss"].backward()
    assert all(weight.grad is None for weight in recipe.objective.discriminator.parameters())
    assert all(
        torch.equal(one, other)
        for one, other in zip(initial, recipe.objective.discriminator.parameters(), strict=True)
    )


def test_multiscale_error_sees_levels_and_not_texture() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 1, 64, 64)
    checks = torch.ones(64, 64)
    checks[::2, ::2] = checks[1::2, 1::2] = -1
    assert multiscale_error(image + 0.1 * checks, image) == 0
    assert multiscale_error(image + 0.1, image) == pytest.approx(0.1, abs=1e-6)
    noise = torch.randn(1, 1, 64, 64, generator=generator)
    assert multiscale_error(image + 0.1 * noise, image) < 0.05


def test_texture_error_sees_missing_noise_and_not_its_values() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, other = torch.randn(2, 1, 3, 128, 128, generator=generator)
    smooth = torch.zeros_like(noise)
    assert texture_error(0.1 * noise, 0.1 * noise) == 0
    assert texture_error(smooth, 0.1 * noise) == pytest.approx(0.09, abs=0.01)
    assert texture_error(0.1 * other, 0.1 * noise) < 0.015
    flat = torch.zeros(1, 3, 16, 16, requires_grad=True)
    texture_error(flat, 0.1 * noise[..., :16, :16]).backward()
    assert flat.grad is not None and flat.grad.isfinite().all()


def test_a_vae_keeps_its_losses(dataset: Path) -> None:
    from riffusion.training.config import AutoencoderLossConfig

    objective = AutoencoderObjective(tiny_vae(1.0), AutoencoderLossConfig(), False)
    losses = objective({"pixels": torch.rand(1, 3, 16, 16)}, torch.Generator().manual_seed(0))
    assert list(losses) == ["loss", "error_of_255", "gradient", "kl"]
