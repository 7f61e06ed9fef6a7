"""The interface between a recipe and the trainer."""

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
"""Scalars by name; `loss` is minimised, the others are only logged."""


class Objective(nn.Module, ABC):
    """The networks in training as one module that returns the losses.

    It is one module because accelerate wraps one for several processes and mixed precision.

    Attributes:
        share_done: share of the run's steps that are done, in [0, 1); set before each step.
    """

    share_done = 0.0

    @abstractmethod
    def forward(self, batch: Example, generator: torch.Generator) -> Losses:
        """Losses of a batch; all random numbers come from `generator`, on its device."""

    def compile_networks(self, backend: str = "inductor") -> None:
        """Compile the networks of diffusers and transformers with `torch.compile`, each by itself.

        Args:
            backend: see `torch.compile`.
        """
        for network in self.children():
            if not hasattr(network, "save_pretrained"):
                continue
            # An autoencoder is called by `encode` and `decode`, not by its own `forward`.
            parts = [getattr(network, name, None) for name in ("encoder", "decoder")]
            for part in [network] if None in parts else parts:
                assert isinstance(part, nn.Module)
                part.compile(dynamic=False, backend=backend)

    def after_step(self) -> None:
        """Called in every process when the optimizer has changed the weights."""

    def enable_gradient_checkpointing(self) -> None:
        """Keep fewer activations, and recompute the others in the backward pass."""
        for network in self.children():
            checkpointed: Any = network
            if hasattr(network, "gradient_checkpointing_enable"):
                checkpointed.gradient_checkpointing_enable()  # transformers
            elif getattr(network, "_supports_gradient_checkpointing", False):
                checkpointed.enable_gradient_checkpointing()  # diffusers


@dataclass
class Samples:
    """Samples of a run.

    Args:
        rows: rows of images, all of one size.
        captions: one caption per row.
        played: (caption, image) of the samples that are also converted to audio.
    """

    rows: list[list[Image.Image]]
    captions: list[str]
    played: list[tuple[str, Image.Image]] = field(default_factory=list)


class Recipe(ABC):
    """One kind of training: networks, examples, losses, samples and export.

    Args:
        folder: the data set.
        data: the configuration's `data` section.

    Attributes:
        objective: the networks in training. Parameters without `requires_grad` stay frozen.
    """

    objective: Objective

    def __init__(self, folder: DatasetFolder, data: DataConfig) -> None:
        self.folder = folder
        self._data = data

    @property
    def params(self) -> SpectrogramParams:
        """Spectrogram parameters of the training images and of generated images.

        Raises:
            InputError: the images can't be resized to `data.resolution`.
        """
        return resized_params(self.folder, self._data)

    @abstractmethod
    def examples(self, split: Split, cache: Path) -> Examples:
        """Examples of a split. Results of long computations are kept in the folder `cache`."""

    @abstractmethod
    def sample(self) -> Samples:
        """Samples of the networks as they are, with the same seeds every time."""

    @abstractmethod
    def export(self, directory: Path) -> None:
        """Write the result as a diffusers folder."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Shapes and sizes of the networks by name, for the model card."""


def num_parameters(network: nn.Module) -> str:
    """Number of parameters as text, such as `1.52 M`."""
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"
