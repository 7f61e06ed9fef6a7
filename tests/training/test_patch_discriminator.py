"""The patch discriminator: which loss has gradients for which network, and that it learns."""

import torch
from torch import nn

from riffusion.training.losses.discriminator import PatchDiscriminator, adversarial_losses

SIDE = 64


def _images(seed: int) -> torch.Tensor:
    return torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_each_loss_has_gradients_for_one_network_only() -> None:
    torch.manual_seed(0)
    for name in ("discriminator", "generator", "features"):
        discriminator, decoder = PatchDiscriminator(), nn.Conv2d(3, 3, 1)
        losses = adversarial_losses(discriminator, decoder(_images(0)), _images(1))
        getattr(losses, name).backward()
        assert _has_gradient(discriminator) == (name == "discriminator"), name
        assert _has_gradient(decoder) == (name != "discriminator"), name


def test_it_learns_to_distinguish_smooth_images_from_textured_ones() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator()
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=2e-3)
    for seed in range(40):
        textured = _images(seed)
        losses = adversarial_losses(discriminator, nn.AvgPool2d(3, 1, 1)(textured), textured)
        optimizer.zero_grad()
        losses.discriminator.backward()
        optimizer.step()
    unseen = _images(1000)
    smooth = nn.AvgPool2d(3, 1, 1)(unseen)
    real_share = (discriminator(unseen)[-1] > 0).float().mean()
    smooth_share = (discriminator(smooth)[-1] < 0).float().mean()
    assert real_share > 0.9
    assert smooth_share > 0.9


def test_equal_images_have_equal_features() -> None:
    image = _images(0)
    assert adversarial_losses(PatchDiscriminator(), image.clone(), image).features == 0
