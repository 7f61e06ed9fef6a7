"""Reconstruction error of the VAE: held-out images encoded and decoded, without diffusion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from riffusion.checkpoint import autoencoders
from riffusion.diffusion import RiffusionPipeline
from riffusion.diffusion.geometry import LatentGeometry
from riffusion.errors import CheckpointError
from riffusion.evaluation.images import Plane, plane_from_image
from riffusion.evaluation.metrics.sharpness import edges_kept, gradients
from riffusion.evaluation.progress import Progress, silent
from riffusion.io.images import read_image
from riffusion.spectrogram.image import rgb_image

_BATCH = 4


@dataclass(frozen=True)
class ReconstructionScores:
    """Held-out images compared with their reconstructions by the VAE.

    Args:
        error: mean absolute error in grey levels of 255, over all pixels and channels.
        worst_error: error of the worst image.
        worst_file: file name of the worst image.
        edges_kept_time, edges_kept_frequency: see `sharpness.edges_kept`; 1 is best.
        gradient_ratio_time, gradient_ratio_frequency: mean gradients, copy / original.
        clips: number of images.
    """

    error: float
    worst_error: float
    worst_file: str
    edges_kept_time: float
    edges_kept_frequency: float
    gradient_ratio_time: float
    gradient_ratio_frequency: float
    clips: int


@dataclass(frozen=True)
class Reconstructions:
    """Images and their reconstructions.

    Args:
        originals, copies: planes (frequency, time).
        errors: mean absolute error of each image, in grey levels of 255.
    """

    originals: list[Plane]
    copies: list[Plane]
    errors: list[float]


def reconstruct(
    pipeline: RiffusionPipeline, paths: Sequence[Path], progress: Progress = silent
) -> Reconstructions:
    """Encode and decode images with the VAE, using the mean of its posterior.

    Args:
        pipeline: the checkpoint.
        paths: image files.
        progress: shows how many are done.

    Raises:
        CheckpointError: a reconstruction contains NaN.
    """
    done = Reconstructions([], [], [])
    with progress("reconstructing") as move:
        for begin in range(0, len(paths), _BATCH):
            batch = paths[begin : begin + _BATCH]
            images = [rgb_image(read_image(path)) for path in batch]
            for image, copy in zip(images, _copies(pipeline, images, batch), strict=True):
                levels = np.asarray(image).astype(np.int16) - np.asarray(copy)
                done.originals.append(plane_from_image(image, pipeline.spectrogram_params))
                done.copies.append(plane_from_image(copy, pipeline.spectrogram_params))
                done.errors.append(float(np.abs(levels).mean()))
            move(begin + len(batch), len(paths))
    return done


def score_reconstruction(
    reconstructions: Reconstructions, paths: Sequence[Path]
) -> ReconstructionScores:
    """Score at least one image.

    Args:
        reconstructions: the images.
        paths: their files.
    """
    pairs = list(zip(reconstructions.originals, reconstructions.copies, strict=True))
    kept = [edges_kept(original, copy) for original, copy in pairs]
    of_originals = [gradients(original) for original, _ in pairs]
    of_copies = [gradients(copy) for _, copy in pairs]
    worst = int(np.argmax(reconstructions.errors))
    return ReconstructionScores(
        error=float(np.mean(reconstructions.errors)),
        worst_error=reconstructions.errors[worst],
        worst_file=paths[worst].name,
        edges_kept_time=float(np.mean([k.time for k in kept])),
        edges_kept_frequency=float(np.mean([k.frequency for k in kept])),
        gradient_ratio_time=_ratio([g.time for g in of_copies], [g.time for g in of_originals]),
        gradient_ratio_frequency=_ratio(
            [g.frequency for g in of_copies], [g.frequency for g in of_originals]
        ),
        clips=len(pairs),
    )


def _ratio(above: list[float], below: list[float]) -> float:
    return sum(above) / max(sum(below), 1e-9)


def _copies(
    pipeline: RiffusionPipeline, images: Sequence[Image.Image], paths: Sequence[Path]
) -> Iterator[Image.Image]:
    width, height = images[0].size
    grid = LatentGeometry(width, height, pipeline.vae_scale_factor, pipeline.vae_scale_factor)
    pixels = torch.from_numpy(np.concatenate([grid.pixels_from_image(i) for i in images]))
    with torch.inference_mode():
        pixels = pixels.to(pipeline.vae.device, pipeline.vae.dtype)
        decoded = autoencoders.decoded(
            pipeline.vae, autoencoders.mean_latents(pipeline.vae, pixels)
        )
    for path, copy in zip(paths, decoded, strict=True):
        if not torch.isfinite(copy).all():
            raise CheckpointError(
                f"the VAE's copy of {path.name!r} contains NaN; images must be finite: the "
                "training has diverged, or the weights overflow in half precision; use an earlier "
                "state"
            )
        yield grid.image_from_pixels(copy)
