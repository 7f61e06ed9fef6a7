"""Trains the classifier on the clips of a data set.

Drawn images are slightly blurred and noisy, which must not affect the predictions. So each clip is
shifted circularly, its level is changed, noise is added, and half of the batches are blurred.
"""

import logging
import math

import torch
from torch import nn

from riffusion.evaluation.classifier.network import Classifier, ClassifierFacts, SoundNetwork
from riffusion.evaluation.images import loudness
from riffusion.evaluation.progress import Progress, silent
from riffusion.evaluation.reference_clips import ReferenceClips

logger = logging.getLogger(__name__)

BATCH_SIZE = 64
MAX_STEPS = 600
"""38,400 clips: under three minutes on two cores."""
MIN_STEPS = 120
EPOCHS = 25
"""Number of epochs, unless it needs fewer or more steps than these limits."""
_LEARNING_RATE = 2e-3
_LABEL_SMOOTHING = 0.05
_MAX_BLUR_CELLS = 1.0
"""Standard deviation in cells of the small plane; a cell is 4 pixels of a 512-pixel image."""


def train_classifier(
    clips: ReferenceClips,
    *,
    trained_on: str = "",
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Classifier:
    """Train a classifier. The same arguments give the same weights on the same machine.

    Args:
        clips: the training clips.
        trained_on: name of their data set.
        steps: number of batches of `BATCH_SIZE` clips; None chooses by the number of clips.
        seed: seed of weights, order and augmentation.
        progress: shows the steps.
    """
    if steps is None:
        steps = min(MAX_STEPS, max(MIN_STEPS, math.ceil(EPOCHS * len(clips) / BATCH_SIZE)))
    facts = ClassifierFacts(
        labels=clips.labels,
        rows=clips.small.shape[1],
        columns=clips.small.shape[2],
        picture_width=clips.size[0],
        picture_height=clips.size[1],
        params=clips.params,
        trained_on=trained_on,
        clips=len(clips),
        steps=steps,
        seed=seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # weights and dropout use the global generator
        network = SoundNetwork(len(facts.labels), facts.rows)
        _fit(network.train(), clips, steps, torch.Generator().manual_seed(seed), progress)
    return Classifier(network, facts)


def _fit(
    network: SoundNetwork,
    clips: ReferenceClips,
    steps: int,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    planes, targets = torch.from_numpy(clips.small), torch.from_numpy(clips.targets)
    # Each label has the same weight, whatever its number of clips.
    weights = 1 / torch.bincount(targets, minlength=len(clips.labels)).double()[targets]
    loss_of = nn.CrossEntropyLoss(label_smoothing=_LABEL_SMOOTHING)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    with progress("training the classifier") as move:
        for step in range(steps):
            drawn = torch.multinomial(weights, BATCH_SIZE, replacement=True, generator=generator)
            batch = augment(torch.from_numpy(loudness(planes[drawn].numpy())), generator)
            loss = loss_of(network(batch)[1], targets[drawn])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            move(step + 1, steps)
    logger.debug("classifier: loss %.3f after %d steps", loss.item(), steps)


def augment(planes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Augment planes by circular shifts, level, noise and sometimes blur.

    Args:
        planes: (clips, rows, frames) in [0, 1].
        generator: generator of all random numbers.

    Returns:
        Planes of the same shape and range.
    """
    count, _, num_frames = planes.shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    shifts = torch.randint(num_frames, (count, 1), generator=generator)
    frames = (torch.arange(num_frames) + shifts) % num_frames
    shifted = planes.gather(2, frames[:, None].expand_as(planes))
    if torch.rand((), generator=generator) < 0.5:
        shifted = _blur(shifted, float(torch.rand((), generator=generator)) * _MAX_BLUR_CELLS)
    noise = torch.randn(planes.shape, generator=generator) * uniform(0, 0.04)
    return (shifted * uniform(0.85, 1.1) + noise).clamp(0, 1)


def _blur(planes: torch.Tensor, deviation: float) -> torch.Tensor:
    """Gaussian blur over both axes, circular in time; kernels of 5 cells."""
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-(offsets**2) / (2 * max(deviation, 1e-3) ** 2))
    kernel /= kernel.sum()
    x = nn.functional.pad(planes.unsqueeze(1), (2, 2, 0, 0), mode="circular")
    x = nn.functional.conv2d(x, kernel.reshape(1, 1, 1, 5))
    x = nn.functional.pad(x, (0, 0, 2, 2), mode="replicate")
    return nn.functional.conv2d(x, kernel.reshape(1, 1, 5, 1)).squeeze(1)
