"""What a recipe provides so that the trainer can train it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from riffusion.datasets.examples import Example, Examples
from riffusion.datasets.folder import DatasetFolder, Split
from riffusion.datasets.image_size import resized_params
from riffusion.spectrogram.params import SpectrogramParams
from riffusion.training.config import DataConfig

Losses = dict[str, torch.Tensor]
"""Scalars by name; `loss` is what is minimised, the others are shown."""


class Objective(nn.Module, ABC):
    """The networks in training, as one module whose call is the loss.

    One module is what accelerate wraps for several processes and for mixed precision.
    """

    @abstractmethod
    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        """Losses of a batch; everything random is drawn from `generator`, on the CPU."""

    def enable_gradient_checkpointing(self) -> None:
        """Keep fewer activations and compute them again."""
        for network in self.children():
            checkpointed: Any = network
            if hasattr(network, "gradient_checkpointing_enable"):
                checkpointed.gradient_checkpointing_enable()  # transformers
            elif getattr(network, "_supports_gradient_checkpointing", False):
                checkpointed.enable_gradient_checkpointing()  # diffusers


@dataclass
class Samples:
    """Images to look at, and to listen to.

    Args:
        rows: images of one size, row by row.
        captions: one a row.
        heard: (caption, image) of those that become sound.
    """

    rows: list[list[Image.Image]]
    captions: list[str]
    heard: list[tuple[str, Image.Image]] = field(default_factory=list)


class Recipe(ABC):
    """One way to train: networks, examples, loss, samples and what is left at the end.

    Args:
        folder: the data set.
        data: what is taken from it.

    Attributes:
        objective: the networks in training. Parameters that need no gradient are left alone.
    """

    objective: Objective

    def __init__(self, folder: DatasetFolder, data: DataConfig) -> None:
        self.folder = folder
        self._data = data

    @property
    def params(self) -> SpectrogramParams:
        """Of the images that are learned from and drawn.

        Raises:
            InputError: the data set's images can't be resized as asked for.
        """
        return resized_params(self.folder, self._data)

    @abstractmethod
    def examples(self, split: Split, cache: Path) -> Examples:
        """Examples of a split. What takes long to make is kept under `cache`."""

    @abstractmethod
    def sample(self) -> Samples:
        """What the networks can do by now; the same seeds every time."""

    @abstractmethod
    def export(self, directory: Path) -> None:
        """Write the result as diffusers reads it."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Of the result, for its card: shapes and sizes by name."""


def num_parameters(network: nn.Module) -> str:
    """Such as `1.52 M`."""
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"
