"""A small convolutional network that predicts the label of an image.

Four strided convolutions each halve both axes. Time is padded circularly, because clips are loops.
The result is pooled over time, by mean and by maximum, for each band of frequencies, so that the
position in the loop doesn't matter, but pitch does. A linear layer computes 128 features, in which
other scores measure distances, and a second one the scores of the labels.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from riffusion.evaluation.images import Plane, loudness
from riffusion.spectrogram.params import SpectrogramParams

Features = npt.NDArray[np.float64]
"""(clips, features)."""

NUM_FEATURES = 128
_CHANNELS = (16, 32, 64, 128)
_BATCH = 64


class SoundNetwork(nn.Module):
    """The network.

    Args:
        num_labels: number of labels.
        num_rows: number of rows of the small planes.
    """

    def __init__(self, num_labels: int, num_rows: int) -> None:
        super().__init__()
        channels = (1, *_CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=(1, 0), bias=False)
            for before, after in itertools.pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in _CHANNELS)
        rows_left = -(-num_rows // 2 ** len(_CHANNELS))
        self.features = nn.Linear(2 * _CHANNELS[-1] * rows_left, NUM_FEATURES)
        self.dropout = nn.Dropout(0.2)
        self.scores = nn.Linear(NUM_FEATURES, num_labels)

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and scores.

        Args:
            planes: (clips, rows, frames) in [0, 1].

        Returns:
            (clips, 128) features, at least 0; (clips, labels) scores before the softmax.
        """
        x = planes.unsqueeze(1) * 2 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nn.functional.pad(x, (1, 1, 0, 0), mode="circular")
            x = nn.functional.relu(norm(convolution(x)))
        x = torch.cat([x.mean(-1), x.amax(-1)], dim=1).flatten(1)
        features = nn.functional.relu(self.features(x))
        return features, self.scores(self.dropout(features))


@dataclass(frozen=True)
class ClassifierFacts:
    """What a classifier was trained on. Field names are the keys of `classifier.json`.

    Args:
        labels: its labels, in the order of its scores.
        rows, columns: size of the small planes.
        picture_width, picture_height: size of the images before they are shrunk.
        params: spectrogram parameters of the images.
        trained_on: name of the data set.
        clips: number of training clips.
        steps: number of training steps.
        seed: seed of the training.
    """

    labels: tuple[str, ...]
    rows: int
    columns: int
    picture_width: int
    picture_height: int
    params: SpectrogramParams
    trained_on: str = ""
    clips: int = 0
    steps: int = 0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ClassifierFacts":
        """Facts from JSON values.

        Raises:
            TypeError, KeyError, ValueError: a value is missing, unknown or out of range.
        """
        known = dict(values)
        labels: Sequence[object] = known.pop("labels")
        if len(labels) < 2 or not all(isinstance(label, str) for label in labels):
            raise ValueError("labels must be a list of at least two strings")
        for name in ("rows", "columns", "picture_width", "picture_height"):
            if not isinstance(known[name], int) or not 1 <= known[name] <= 2**16:
                raise ValueError(f"{name}={known[name]!r} must be a whole number of at least 1")
        params = SpectrogramParams(**known.pop("params"))
        return cls(labels=tuple(map(str, labels)), params=params, **known)


class Classifier:
    """A trained network with its labels.

    Args:
        network: the network; it is set to evaluation mode.
        facts: what it was trained on.
    """

    def __init__(self, network: SoundNetwork, facts: ClassifierFacts) -> None:
        self.network = network.eval()
        self.facts = facts

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return self.facts.labels

    def predict(self, small: Plane) -> tuple[Features, npt.NDArray[np.float64]]:
        """Features and label probabilities.

        Args:
            small: (clips, rows, frames) shrunk planes.

        Returns:
            (clips, 128) features; (clips, labels) probabilities.
        """
        features, probabilities = [], []
        with torch.inference_mode():
            for begin in range(0, len(small), _BATCH):
                batch = torch.from_numpy(loudness(small[begin : begin + _BATCH]))
                found, scores = self.network(batch)
                features.append(found.double())
                probabilities.append(scores.double().softmax(-1))
        return torch.cat(features).numpy(), torch.cat(probabilities).numpy()

    def predict_labels(self, small: Plane) -> npt.NDArray[np.int64]:
        """Index of the most probable label of each clip, (clips,)."""
        labels: npt.NDArray[np.int64] = self.predict(small)[1].argmax(-1)
        return labels
