"""An adversary that tells decoded patches from real ones, by which a decoder learns texture.

L1 alone is content with the median of what might be there, which is blurred. Source: the patch
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
    """(batch, 3, height, width) in [-1, 1] → one map of features a layer, and last the verdicts.

    A verdict is positive for a patch of about 30×30 pixels that looks real. It sees loudness alone,
    the mean over channels.
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
    """Scalars.

    Args:
        discriminator: moves the discriminator's weights alone.
        generator: of decoded pixels that don't look real; moves the decoder alone.
        features: L1 between the features of decoded and real pixels; moves the decoder alone.
    """

    discriminator: torch.Tensor
    generator: torch.Tensor
    features: torch.Tensor


def adversarial_losses(
    discriminator: PatchDiscriminator, decoded: torch.Tensor, real: torch.Tensor
) -> AdversarialLosses:
    """Losses of both sides, whose sum one optimizer can minimise.

    Args:
        discriminator: in training.
        decoded: (batch, 3, height, width), with a gradient to the decoder.
        real: as large.
    """
    seen_real = discriminator(real)
    seen_fake = discriminator(decoded.detach())
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    judged = functional_call(discriminator, frozen, decoded)
    distances = [
        F.l1_loss(fake, true.detach())
        for fake, true in zip(judged[:-1], seen_real[:-1], strict=True)
    ]
    return AdversarialLosses(
        discriminator=F.relu(1 - seen_real[-1]).mean() + F.relu(1 + seen_fake[-1]).mean(),
        generator=-judged[-1].mean(),
        features=torch.stack(distances).mean(),
    )
