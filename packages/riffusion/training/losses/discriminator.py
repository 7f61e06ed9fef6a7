"""A patch discriminator and its losses, which teach a decoder texture.

L1 loss alone leads to the median of all plausible images, which is blurred. Source: the patch
discriminator of Isola et al. 2017, with the hinge losses and feature matching of later work.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 # torch's customary name
from torch import nn
from torch.func import functional_call

_WIDTHS = (32, 64, 128)
_NORM_GROUPS = 8


class PatchDiscriminator(nn.Module):
    """Images (batch, 3, height, width) in [-1, 1] → feature maps of each layer, then the scores.

    A score is positive if its patch of about 30×30 pixels looks real. The input is averaged over
    channels first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        previous = 1
        for width in _WIDTHS:
            convolution = nn.Conv2d(previous, width, kernel_size=4, stride=2, padding=1)
            norm = nn.Identity() if previous == 1 else nn.GroupNorm(_NORM_GROUPS, width)
            self.layers.append(nn.Sequential(convolution, norm, nn.LeakyReLU(0.2)))
            previous = width
        self.layers.append(nn.Conv2d(previous, 1, kernel_size=3, padding=1))

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        outputs = [pixels.mean(dim=1, keepdim=True)]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs[1:]


@dataclass
class AdversarialLosses:
    """Adversarial losses, each a scalar.

    Args:
        discriminator: hinge loss; its gradient reaches only the discriminator.
        generator: negated mean score of the decoded images; its gradient reaches only the decoder.
        features: L1 distance between features of decoded and real images; its gradient reaches only
            the decoder.
    """

    discriminator: torch.Tensor
    generator: torch.Tensor
    features: torch.Tensor


def adversarial_losses(
    discriminator: PatchDiscriminator, decoded: torch.Tensor, real: torch.Tensor
) -> AdversarialLosses:
    """Losses of decoder and discriminator; one optimizer can minimise their sum.

    Args:
        discriminator: the discriminator in training.
        decoded: (batch, 3, height, width), with gradients to the decoder.
        real: images of the same shape.
    """
    of_real = discriminator(real)
    of_decoded = discriminator(decoded.detach())
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    for_decoder = functional_call(discriminator, frozen, decoded)
    distances = [
        F.l1_loss(fake, true.detach())
        for fake, true in zip(for_decoder[:-1], of_real[:-1], strict=True)
    ]
    return AdversarialLosses(
        discriminator=F.relu(1 - of_real[-1]).mean() + F.relu(1 + of_decoded[-1]).mean(),
        generator=-for_decoder[-1].mean(),
        features=torch.stack(distances).mean(),
    )
