"""The two architectures of musicnn in torch.

Both take log-mel patches (batch, frames, 96 bands), and return tag logits (batch, tags) and
features (batch, features).
"""

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv1d, conv2d, linear, max_pool2d, pad, relu

from riffusion.evaluation.tagger.tensor_bundle import Variables

_EPSILON = 1e-3
"""TensorFlow's default in batch normalisation."""
_TIMBRAL_FRAMES = 7
_TEMPORAL_FRAMES = (128, 64, 32)
_VGG_POOLS = (((4, 1), 2), ((2, 2), 2), ((2, 2), 2), ((2, 2), 2), ((4, 4), 4))
"""Size (frames, bands) and stride of each pooling."""


class Weights:
    """The variables of a TensorFlow checkpoint, and the layers that use them.

    Kernels have TensorFlow's order: (frames, bands, channels in, channels out).

    Args:
        variables: by name.
    """

    def __init__(self, variables: Variables) -> None:
        self._tensors = {name: torch.from_numpy(array.copy()) for name, array in variables.items()}

    def conv(self, name: str, image: Tensor) -> Tensor:
        """Convolution of (batch, channels, frames, bands), without padding."""
        kernel = self._tensors[f"{name}/kernel"].permute(3, 2, 0, 1)
        return conv2d(image, kernel, self._tensors[f"{name}/bias"])

    def conv_over_time(self, name: str, sequence: Tensor) -> Tensor:
        """Convolution of (batch, channels, frames); channels are where the kernel has bands."""
        kernel = self._tensors[f"{name}/kernel"][:, :, 0].permute(2, 1, 0)
        return conv1d(sequence, kernel, self._tensors[f"{name}/bias"])

    def dense(self, name: str, rows: Tensor) -> Tensor:
        """Linear layer."""
        return linear(rows, self._tensors[f"{name}/kernel"].T, self._tensors[f"{name}/bias"])

    def normalize(self, index: int, layer: Tensor) -> Tensor:
        """Batch normalisation with the moments of the training set."""
        name = _numbered("batch_normalization", index)
        gamma, beta, mean, variance = (
            self._tensors[f"{name}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return batch_norm(layer, mean, variance, gamma, beta, training=False, eps=_EPSILON)


def music_cnn(weights: Weights, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Filters as tall as spectra of instruments and as long as rhythms, pooled over pitch and time.

    The features are the 200 of the layer before the last.
    """
    image = weights.normalize(0, patches[:, None])
    front = torch.cat([_front_end(weights, index, image) for index in range(5)], 1)
    layers = [front]  # (batch, 561, frames)
    for index in (5, 6, 7):
        convolved = weights.conv_over_time(_numbered("conv2d", index), pad(layers[-1], (3, 3)))
        layer = weights.normalize(index + 1, relu(convolved))
        layers.append(layer if index == 5 else layer + layers[-1])
    sequence = torch.cat(layers, 1)  # (batch, 753, frames)
    pooled = torch.stack([sequence.amax(-1), sequence.mean(-1)], -1).flatten(1)
    hidden = relu(weights.dense("dense", weights.normalize(9, pooled)))
    features = weights.normalize(10, hidden)
    return weights.dense("dense_1", features), features


def vgg(weights: Weights, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Five small convolutions with pooling after each; for patches of 187 frames.

    The features are the 256 of the last pooling.
    """
    layer = weights.normalize(0, patches[:, None])
    for index, (size, stride) in enumerate(_VGG_POOLS, start=1):
        layer = relu(weights.conv(f"{index}CNN", pad(layer, (1, 1, 1, 1))))
        layer = max_pool2d(weights.normalize(index, layer), size, stride)
    features = layer.permute(0, 2, 3, 1).flatten(1)  # channels last, as in TensorFlow
    return weights.dense("dense", features), features


def _front_end(weights: Weights, index: int, image: Tensor) -> Tensor:
    """One kind of filter at the band where it is strongest: (batch, channels, frames)."""
    frames = _TIMBRAL_FRAMES if index < 2 else _TEMPORAL_FRAMES[index - 2]
    padded = pad(image, (0, 0, (frames - 1) // 2, frames // 2))
    convolved = relu(weights.conv(_numbered("conv2d", index), padded))
    return weights.normalize(index + 1, convolved).amax(-1)


def _numbered(name: str, index: int) -> str:
    """TensorFlow numbers layers of one kind from the second one on."""
    return f"{name}_{index}" if index else name
