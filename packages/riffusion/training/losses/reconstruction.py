"""How far decoded images are from the originals, apart from the error of single pixels.

Images are (batch, channels, height, width) in [-1, 1], single precision. All errors are L1.
"""

import torch
import torch.nn.functional as F  # noqa: N812 # torch's customary name

_SCALES = (2, 4, 8)
_WINDOW, _STRIDE = 8, 4
_SMALLEST_VARIANCE = 1e-4
"""Added to variances. It limits the gradient of their square root: below a deviation of 0.01, which
is 1.3 grey levels, texture is invisible anyway."""


def gradient_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean error of the differences between neighbours in time and in frequency."""
    error = decoded - pixels
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def multiscale_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean error of the images averaged over 2×2, 4×4 and 8×8 pixels."""
    error = decoded - pixels
    return torch.stack([F.avg_pool2d(error, scale).abs().mean() for scale in _SCALES]).mean()


def texture_error(decoded: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mean error of the standard deviations in windows of 8×8 pixels, four pixels apart."""
    return F.l1_loss(_local_deviation(decoded), _local_deviation(pixels))


def _local_deviation(images: torch.Tensor) -> torch.Tensor:
    mean = F.avg_pool2d(images, _WINDOW, _STRIDE)
    mean_square = F.avg_pool2d(images.square(), _WINDOW, _STRIDE)
    return ((mean_square - mean.square()).clamp(min=0) + _SMALLEST_VARIANCE).sqrt()
